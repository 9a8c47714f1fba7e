"""Pictures and tables of results. They read what calls gave and never make one.

Colours are Okabe and Ito's, which colour-blind readers can tell apart, and each mark also differs by pattern or label.
"""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from moa_helpers.results import Replies, Reply
from moa_helpers.steps.agreement import sentences_of, words_of
from moa_helpers.ui.segments import MARKS, segments

MOST_SENTENCES = 30  # in a picture; each takes a tenth of a second to draw
GAP = 0.05  # seconds between two stages that are this machine's own work, and no wait
LINES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#000000", "-"), ("#E69F00", "--"))
COLUMNS = (
    "model",
    "outcome",
    "started_s",
    "ttft_s",
    "elapsed_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "attempts",
    "second_request",
)


class Picture(Figure):
    """A matplotlib figure with a text alternative; a notebook shows it as an image with that text."""

    alt: str = ""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        file = io.BytesIO()
        with warnings.catch_warnings():  # a character that the font lacks is a box; the text alternative has it
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            self.savefig(file, format="png", dpi=80)
        small = io.BytesIO()  # 64 colours are enough, and keep notebooks small
        Image.open(file).convert("RGB").quantize(64).save(small, format="png", optimize=True)
        image = base64.b64encode(small.getvalue()).decode()
        tag = f'<img alt="{html.escape(self.alt)}" style="max-width:100%" src="data:image/png;base64,{image}">'
        return {"text/html": tag, "text/plain": self.alt}


def table(replies: Sequence[Reply]) -> pd.DataFrame:
    """One row a call.

    Columns: ``model``, ``outcome`` (ok, truncated, or the kind of failure), ``started_s`` (seconds after the first
    call began), ``ttft_s``, ``elapsed_s``, ``input_tokens``, ``output_tokens``, ``cost_usd``, ``attempts``,
    ``second_request`` (empty, or to which model, and whether its answer counts). Missing values are unknown.
    """
    zero = min((reply.started for reply in replies), default=0.0)
    rows = [
        (
            reply.model,
            reply.failure.kind if reply.failure else "truncated" if reply.truncated else "ok",
            reply.started - zero,
            reply.ttft,
            reply.elapsed,
            reply.input_tokens,
            reply.output_tokens,
            reply.cost_usd,
            len(reply.attempts),
            f"{reply.hedged[1].model}{' (its answer counts)' if reply.by_hedge else ''}" if reply.hedged else "",
        )
        for reply in replies
    ]
    numbers = {"ttft_s": "Float64", "input_tokens": "Int64", "output_tokens": "Int64", "cost_usd": "Float64"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers).rename_axis("call")


def timeline(
    replies: Sequence[Reply], names: Sequence[str] = (), critical_path: Sequence[Reply] | None = None
) -> Picture:
    """A bar for each request on a common clock: waiting, writing, failing, pausing before a retry, or abandoned.

    The title says how long each stage waited, and for whom. A second request has a row of its own.

    Args:
        replies: the calls.
        names: how to label them; default: the names of their models.
        critical_path: the call that each stage waited for, in order; default: the last of ``replies`` to end.

    Raises:
        ValueError: there is no call.
    """
    if not replies:
        raise ValueError("Nothing to draw: no call was made.")
    if critical_path is None:
        critical_path = [slowest] if (slowest := Replies(replies).slowest) else []
    zero = min(reply.started for reply in replies)
    end = max(reply.ended for reply in replies) - zero or 1.0
    rows: list[tuple[str, Reply, bool]] = []
    for reply, name in zip(replies, names or [reply.model for reply in replies], strict=True):
        first, *second = reply.hedged or (reply,)
        rows.append((name, first, reply in critical_path and not reply.by_hedge))
        rows += [
            (f"second request:\n{other.model}", other, reply.by_hedge and reply in critical_path) for other in second
        ]
    picture = Picture(figsize=(8.5, 1.4 + 0.46 * len(rows)), layout="constrained")
    axes = picture.add_subplot()
    sentences, shown = [], set()
    for row, (name, reply, critical) in enumerate(rows):
        begin, finish = reply.started - zero, reply.ended - zero
        for kind, start, width in segments(reply):
            colour, hatch = MARKS[kind]
            drawn = max(width, 0.012 * end if "failed" in kind else 0)  # a refusal within milliseconds stays visible
            axes.barh(
                row,
                drawn,
                left=begin + start,
                color=colour,
                hatch=hatch,
                edgecolor="#444444",
                linewidth=0.5,
                height=0.6,
            )
            shown.add(kind)
        label = f"{reply.elapsed:.2f} s" + (f", {reply.failure.kind}" if reply.failure else "")
        axes.text(finish + 0.01 * end, row, label + (", waited for" if critical else ""), va="center")
        sentences.append(f"{name} from {begin:.2f} s to {finish:.2f} s ({reply.summary})")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, end * 1.3)
    axes.set_xlabel("seconds since the first call began")
    axes.spines[["top", "right"]].set_visible(False)
    title = _critical(critical_path, zero, zero + end)
    axes.set_title(title, loc="left", fontsize="medium", parse_math=False)
    legend = [
        Patch(facecolor=MARKS[kind][0], hatch=MARKS[kind][1], edgecolor="#444444", label=kind)
        for kind in MARKS
        if kind in shown
    ]
    picture.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False)
    picture.alt = f"Timeline of the calls: {'; '.join(sentences)}. {' '.join(title.splitlines())}"
    return picture


def _critical(path: Sequence[Reply], zero: float, end: float) -> str:
    """Who was waited for, and how long."""
    lines: list[str] = []
    before = zero
    for reply in path:
        _note_gap(lines, reply.started - before, end - zero)
        lost = sum(width for kind, _, width in segments(reply) if kind in ("failed attempt", "pause before a retry"))
        of_it = f" ({lost:.2f} s of it failed attempts and pauses)" if lost >= 0.005 and not reply.hedged else ""
        second = " and its second request" if reply.hedged else ""
        since = before if reply.started - before < GAP else reply.started
        lines.append(f"{reply.ended - since:.2f} s of {end - zero:.2f} s waited for {reply.model}{second}{of_it}")
        before = reply.ended
    _note_gap(lines, end - before, end - zero)
    return "\n".join(lines)


def _note_gap(lines: list[str], gap: float, whole: float) -> None:
    if gap >= GAP:
        lines.append(f"{gap:.2f} s of {whole:.2f} s waited for calls that gave nothing by then")


def distribution(samples: Mapping[str, Sequence[float]], xlabel: str = "seconds", *, tail: bool = False) -> Picture:
    """Cumulative distributions on one axis: the share of calls (in %) that took at most so many seconds.

    With ``tail`` the share that took longer, on a logarithmic axis, which shows the rare slow ones: a curve crosses 1 %
    at its p99.
    """
    picture = Picture(figsize=(8.5, 3.6), layout="constrained")
    axes = picture.add_subplot()
    for (name, values), (colour, dashes) in zip(samples.items(), cycle(LINES), strict=False):
        ordered = sorted(values)
        done = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
        share = [100 - percent for percent in done] if tail else done
        axes.step(ordered, share, where="post", color=colour, linestyle=dashes, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    if tail:
        axes.set_yscale("log")
        axes.set_ylim(0.05, 100)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(f"{xlabel} (logarithmic)")
    axes.set_ylabel("% not done by then (logarithmic)" if tail else "% done by then")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left" if tail else "lower right")
    shares = (0.5, 0.95, 0.99) if tail else (0.5, 0.95)
    picture.alt = f"{'Tails' if tail else 'Cumulative distributions'}. " + "; ".join(
        f"{name}: "
        + ", ".join(
            f"{'median' if at == 0.5 else f'{at:.0%} within'} {pd.Series(values).quantile(at):.2f}" for at in shares
        )
        for name, values in samples.items()
    )
    return picture


def percentiles(samples: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """One row a name: how many samples, their mean, and the times (seconds) that 50, 95 and 99 % of them kept."""
    rows = {
        name: {"n": len(values), "mean_s": pd.Series(values).mean()}
        | {f"p{share}_s": pd.Series(values).quantile(share / 100) for share in (50, 95, 99)}
        for name, values in samples.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").astype({"n": int})


def provenance(text: str, references: Sequence[Reply]) -> pd.DataFrame:
    """Which sentence of a text is found in which reference, judged by the words alone.

    A value is the share (0 to 1) of the sentence's distinctive words that the closest sentence of the reference has
    too. It is computed from the texts and not asked of a model; the same thought in other words scores low.

    Returns:
        Rows: the text's sentences, headings left out. Columns: the usable replies, ``1 openai:…`` and so on.
    """
    usable = {f"{number} {reply.written_by}": reply.text for number, reply in enumerate(references, 1) if reply.ok}
    others = {name: [words_of(sentence) for sentence in sentences_of(other)] for name, other in usable.items()}
    rows = {
        sentence: {
            name: max((len(words & other) / len(words) for other in sentences), default=0.0)
            for name, sentences in others.items()
        }
        for sentence in sentences_of(text)
        if len(words := words_of(sentence)) >= 4
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(usable))


def provenance_picture(text: str, references: Sequence[Reply]) -> Picture:
    """``provenance`` as a picture: the darker, the more of the sentence's words the reference has as well.

    Of a long text it shows the first ``MOST_SENTENCES``, and says so.

    Raises:
        ValueError: there is nothing to compare: no sentence in the text, or no usable reference.
    """
    return picture_of_shares(provenance(text, references))


def picture_of_shares(shares: pd.DataFrame) -> Picture:
    """What ``provenance`` gave, as ``provenance_picture`` draws it."""
    if shares.empty:
        raise ValueError("Nothing to draw: the text has no sentence, or no reference has an answer.")
    total, shares = len(shares), shares[:MOST_SENTENCES]
    cut = f"The first {MOST_SENTENCES} of {total} sentences." if total > MOST_SENTENCES else ""
    picture = Picture(figsize=(9, 1.3 + 0.42 * len(shares)), layout="constrained")
    axes = picture.add_subplot()
    axes.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(shares.to_numpy()):
        for column, value in enumerate(values):
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", color="white" if value > 0.6 else "black")
    short = [sentence if len(sentence) <= 60 else sentence[:57].rstrip() + "…" for sentence in shares.index]
    axes.set_yticks(range(len(shares)), short, parse_math=False)  # "$5 or $10" is no formula
    axes.set_xticks(
        range(len(shares.columns)), [name.replace(":", ":\n", 1) for name in shares.columns], parse_math=False
    )
    axes.xaxis.tick_top()
    axes.set_xlabel(cut)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    picture.alt = (
        "Share of each sentence's words found in each reference. "
        + f"{cut} " * bool(cut)
        + " ".join(
            f"{sentence} " + ", ".join(f"{name} {value:.0%}" for name, value in row.items()) + "."
            for sentence, row in zip(short, shares.to_dict("records"), strict=True)
        )
    )
    return picture
