"""Pictures of results, and their tables (from ``tables``). They draw what calls gave and make no call.

Colours are Okabe and Ito's, which colour-blind readers can tell apart, and each mark also differs by pattern or label.
"""

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from moa_helpers.results import Answer, Replies, Reply
from moa_helpers.ui.cards import roles
from moa_helpers.ui.html import render, visible
from moa_helpers.ui.phases import PHASES, phases
from moa_helpers.ui.tables import percentiles, provenance, table

__all__ = ["Picture", "distribution", "percentiles", "provenance", "provenance_picture", "table", "timeline"]

MOST_SENTENCES, MOST_REQUESTS = 30, 60  # in a picture; each takes a tenth or a fortieth of a second to draw
GAP = 0.05  # seconds between two stages that are this machine's own work, and no wait
LINES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#000000", "-"), ("#E69F00", "--"))


class Picture(Figure):
    """A matplotlib figure with a text alternative; a notebook shows it as an image with that text.

    Every text in it is shown as it is: "$5 or $10" holds no formula.
    """

    alt: str = ""

    def draw(self, renderer: Any) -> None:
        """Draw it, as matplotlib does before it shows or saves it."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        file = io.BytesIO()
        with warnings.catch_warnings():  # a character that the font lacks is a box; the text alternative has it
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            self.savefig(file, format="png", dpi=80)
        small = io.BytesIO()  # 64 colours are enough, and keep notebooks small
        Image.open(file).convert("RGB").quantize(64).save(small, format="png", optimize=True)
        image = base64.b64encode(small.getvalue()).decode()
        return {"text/html": render("picture.html", alt=self.alt, image=image), "text/plain": visible(self.alt)}


def blank(height: float, xlabel: str, ylabel: str = "", *, width: float = 8.5) -> tuple[Picture, Axes]:
    """A picture of so many inches, and the diagram in it, with nothing drawn yet."""
    picture = Picture(figsize=(width, height), layout="constrained")
    axes = picture.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes


def timeline(calls: Answer | Sequence[Reply]) -> Picture:
    """A bar for each request on a common clock: waiting, writing, failing, pausing before a retry, or abandoned.

    The title says how long each stage waited, and for whom; of mere replies, how long it was until the last one ended.
    A second request has a row of its own. Of more than ``MOST_REQUESTS`` it shows those that were waited for and the
    first of the others, and says so.

    Raises:
        ValueError: there is no call.
    """
    replies = calls.replies if isinstance(calls, Answer) else Replies(calls)
    if not replies:
        raise ValueError("Nothing to draw: no call was made.")
    names = [_label("", reply) for reply in replies]
    in_turn: Sequence[Replies] = (replies,)
    if isinstance(calls, Answer):
        in_turn = calls.stages
        stages = zip(roles(calls), replies, strict=True)
        names = [_label(role + ", left out" * (reply in calls.left_out), reply) for role, reply in stages]
    path = [(stage.slowest, min(reply.started for reply in stage)) for stage in in_turn if stage.slowest]
    zero = min(reply.started for reply in replies)
    whole = max(reply.ended for reply in replies) - zero or 1.0
    rows: list[tuple[str, Reply, bool]] = []  # name, request, and whether it was waited for
    for name, reply in zip(names, replies, strict=True):
        first, *second = reply.hedged or (reply,)
        waited_for = any(reply is one for one, _ in path)
        rows.append((name, first, waited_for and not reply.by_hedge))
        rows += [(_label("second request:", other), other, waited_for and reply.by_hedge) for other in second]
    waits = _waits(path, zero, whole)
    if len(rows) > MOST_REQUESTS:
        order = sorted(range(len(rows)), key=lambda place: not rows[place][2])[:MOST_REQUESTS]
        waits.append(f"Shown are {MOST_REQUESTS} of {len(rows)} requests, those that were waited for among them.")
        rows = [rows[place] for place in sorted(order)]
    wide = any(reply.settings or reply.kept for reply in replies)  # there is more to write beside the bars
    picture, axes = blank(1.4 + 0.46 * len(rows), "seconds since the first call began", width=11.5 if wide else 8.5)
    for place, (_, reply, waited_for) in enumerate(rows):
        _draw(axes, place, reply, reply.started - zero, whole, waited_for)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, whole * 1.3)
    axes.set_title("\n".join(waits), loc="left", fontsize="medium")
    shown = {kind for _, reply, _ in rows for kind, _, _ in phases(reply)}
    legend = [Patch(label=kind, **_look(kind)) for kind in PHASES if kind in shown]
    picture.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False)
    spans = [f"{name} from {r.started - zero:.2f} s to {r.ended - zero:.2f} s ({r.summary})" for name, r, _ in rows]
    picture.alt = f"Timeline of the calls: {'; '.join(spans)}. {' '.join(waits)}"
    return picture


def _label(role: str, reply: Reply) -> str:
    """The two lines beside a bar: its role, its model, and of its settings what there is room for."""
    settings = reply.settings if len(reply.settings) <= 44 else reply.settings[:43].rstrip() + "…"
    lines = (f"{role} · {reply.model}" if role else reply.model, settings) if settings else (role, reply.model)
    return "\n".join(filter(None, lines))


def _draw(axes: Axes, place: int, reply: Reply, begin: float, whole: float, waited_for: bool) -> None:
    for kind, start, width in phases(reply):
        drawn = max(width, 0.012 * whole if "failed" in kind else 0)  # a refusal within milliseconds stays visible
        axes.barh(place, drawn, left=begin + start, linewidth=0.5, height=0.6, **_look(kind))
    failed = f", {reply.failure.kind}" if reply.failure else ""
    label = f"{reply.elapsed:.2f} s{failed}{', recorded' * reply.kept}{', waited for' * waited_for}"
    axes.text(begin + reply.elapsed + 0.01 * whole, place, label, va="center")


def _look(kind: str) -> dict[str, Any]:
    colour, hatch = PHASES[kind]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": "#444444"}


def _waits(path: Sequence[tuple[Reply, float]], zero: float, whole: float) -> list[str]:
    """How long each stage waited, and for whom; ``path`` has who it was, and when the first call of its stage began."""
    lines = []

    def note_gap(seconds: float, words: str = "waited for calls that gave nothing by then") -> None:
        if seconds >= GAP:
            lines.append(f"{seconds:.2f} s of {whole:.2f} s {words}")

    before = zero
    for reply, began in path:
        note_gap(began - before)
        note_gap(reply.started - max(before, began), f"went by before {reply.model} began")
        lost = sum(width for kind, _, width in phases(reply) if kind in ("failed attempt", "pause before a retry"))
        of_it = f" ({lost:.2f} s of it failed attempts and pauses)" if lost >= 0.005 and not reply.hedged else ""
        second = " and its second request" if reply.hedged else ""
        since = before if reply.started - before < GAP else reply.started
        lines.append(f"{reply.ended - since:.2f} s of {whole:.2f} s waited for {reply.model}{second}{of_it}")
        before = reply.ended
    note_gap(zero + whole - before)
    return lines


def distribution(samples: Mapping[str, Sequence[float]], xlabel: str = "seconds", *, tail: bool = False) -> Picture:
    """Cumulative distributions on one axis: the share of calls (in %) that took at most so many seconds.

    With ``tail`` the share that took longer, on a logarithmic axis, which shows the rare slow ones: a curve crosses 1 %
    at its p99.
    """
    ylabel = "% not done by then (logarithmic)" if tail else "% done by then"
    picture, axes = blank(3.6, f"{xlabel} (logarithmic)", ylabel)
    lines: dict[str, Any] = {}
    for (name, values), (colour, dashes) in zip(samples.items(), cycle(LINES), strict=False):
        ordered = sorted(values)
        done = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
        share = [100 - percent for percent in done] if tail else done
        (lines[name],) = axes.step(ordered, share, where="post", color=colour, linestyle=dashes)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    if tail:
        axes.set_yscale("log")
        axes.set_ylim(0.05, 100)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(alpha=0.3)
    axes.legend([*lines.values()], [*lines], frameon=False, loc="lower left" if tail else "lower right")
    said = {"median": 0.5, "95% within": 0.95} | ({"99% within": 0.99} if tail else {})
    parts = []
    for name, values in samples.items():
        times = (f"{words} {pd.Series(values).quantile(share):.2f}" for words, share in said.items())
        parts.append(f"{name}: {', '.join(times)}")
    picture.alt = f"{'Tails' if tail else 'Cumulative distributions'}. {'; '.join(parts)}"
    return picture


def provenance_picture(text: str, references: Sequence[Reply]) -> Picture:
    """``provenance`` as a picture: the darker, the more of the sentence's words the reference has as well.

    Of a long text it shows the first ``MOST_SENTENCES``, and says so.

    Raises:
        ValueError: there is nothing to compare: no sentence in the text, or no usable reference.
    """
    shares = provenance(text, references)
    if shares.empty:
        raise ValueError("Nothing to draw: the text has no sentence, or no reference has an answer.")
    total, shares = len(shares), shares[:MOST_SENTENCES]
    cut = f"The first {MOST_SENTENCES} of {total} sentences." if total > MOST_SENTENCES else ""
    picture, axes = blank(1.3 + 0.42 * len(shares), cut, width=9)
    axes.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(shares.to_numpy()):
        for column, value in enumerate(values):
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", color="white" if value > 0.6 else "black")
    short = [sentence if len(sentence) <= 60 else sentence[:57].rstrip() + "…" for sentence in shares.index]
    axes.set_yticks(range(len(shares)), short)
    columns = [name.replace(":", ":\n", 1) for name in shares.columns]
    axes.set_xticks(range(len(columns)), columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    parts = ["Share of each sentence's words found in each reference.", *([cut] if cut else [])]
    for sentence, row in zip(short, shares.to_dict("records"), strict=True):
        parts.append(f"{sentence} {', '.join(f'{name} {value:.0%}' for name, value in row.items())}.")
    picture.alt = " ".join(parts)
    return picture
