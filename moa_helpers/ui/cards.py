"""How results look: one card with a heading, a table and a text, as HTML, Markdown and plain text.

``card`` says what each type of result shows; other modules register their own types. What came from a model is escaped.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from moa_helpers.catalogue import VENDORS, listed
from moa_helpers.limits.purse import Estimate
from moa_helpers.offline.bank import UNPREPARED
from moa_helpers.results import Answer, Replies, Reply
from moa_helpers.ui.html import printable, render, visible

LOCAL = ("local", "ollama", "vllm", "colab")  # vendors whose models are free, so that nobody misses their price
STAND_INS = " · offline stand-ins"
NO_ANSWER = "no prepared answer to this question"


@dataclass(frozen=True)
class Card:
    """What a result shows of itself; ``str`` of it is the plain text."""

    heading: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    text: str = ""
    thinking: str = ""  # folded, as it is no part of the text
    thinking_note: str = ""  # what is said of it where nothing can be folded
    notes: Sequence[str] = ()  # sentences below the heading
    folded: str = ""  # the title of the rows where they are folded; plain text leaves such rows out

    def __str__(self) -> str:
        table = [self.header, *self.rows] if self.rows and not self.folded else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        return printable("\n".join([self.heading, *self.notes, *lines, *filter(None, [self.thinking_note, self.text])]))

    def markdown(self) -> str:
        """The same as Markdown; the text is a code block, whose fence is longer than any run of backticks in it."""
        parts = [f"**{_literal(self.heading)}**", *map(_literal, self.notes)]
        if self.rows and not self.folded:
            lines = [self.header, ["---"] * len(self.header), *self.rows]
            parts.append("\n".join("| " + " | ".join(map(_literal, line)) + " |" for line in lines))
        if self.thinking_note:
            parts.append(f"*{_literal(self.thinking_note)}*")
        if self.text:
            fence = "`" * (1 + max(map(len, ["``", *re.findall("`+", self.text)])))
            parts.append(f"{fence}text\n{self.text}\n{fence}")
        return visible("\n\n".join(parts))

    def html(self) -> str:
        """The same as HTML; the Markdown of the text is laid out."""
        return render("card.html", card=self)


@singledispatch
def card(result: object) -> Card:
    """What a result shows of itself."""
    raise TypeError(f"Nobody has said how a {type(result).__name__} looks.")


@card.register
def _(reply: Reply) -> Card:
    cached = f" ({count(reply.cached_tokens)} cached)" if reply.cached_tokens is not None else ""
    tokens = f"{count(reply.input_tokens)} in{cached}, {count(reply.output_tokens)} out"
    local = reply.cost_usd == 0 and reply.model.partition(":")[0] in LOCAL
    cost = spent(reply) + ("" if local else _unlisted(reply.model))
    row = (seconds(reply.ttft), tokens, cost, str(len(reply.attempts)), reply.answered_by or "unknown")
    stand_in = unprepared([reply]) + " · offline stand-in" * reply.offline
    header = ("first token", "tokens", "cost", "attempts", "answered by")
    heading = f"{named(reply)} {reply.summary}{stand_in}"
    return Card(heading, header, [row], _said(reply), reply.thinking, _thinking_note(reply, ".thinking"))


@card.register
def _(replies: Replies) -> Card:
    stand_ins = STAND_INS * any(reply.offline for reply in replies)
    rows = [(named(one), one.summary, _said(one)) for one in replies]
    heading = f"{len(replies.good)} of {len(replies)} answered{unprepared(replies.good)} · {spent(replies)}{stand_ins}"
    return Card(heading, ("model", "outcome", "text"), rows)


@card.register
def _(answer: Answer) -> Card:
    stand_ins = STAND_INS * any(reply.offline for reply in answer.replies)
    rows = [
        (role, named(reply), reply.summary + ", left out" * (reply in answer.left_out), spent(reply))
        for role, reply in zip(roles(answer), answer.replies, strict=True)
    ]
    alone = answer.substitute
    text = f"No synthesis. This is what {_writer(alone)} answered alone:\n\n{alone.text}" if alone else answer.text
    heading = f"{answer.heading} · {lasted(answer.elapsed, answer.replies)} · {spent(answer)}{stand_ins}"
    written = alone or answer.picked or answer.aggregator
    thinking, note = (written.thinking, _thinking_note(written, "that reply's .thinking")) if written else ("", "")
    return Card(heading, ("role", "model", "outcome", "cost"), rows, text, thinking, note)


@card.register
def _(estimate: Estimate) -> Card:
    rows = [
        (f"{estimate.answer_tokens} tokens", dollars(estimate.usd)),
        (f"{estimate.max_tokens} tokens, the most allowed", dollars(estimate.most_usd)),
    ]
    if estimate.worst_hours:
        by_batch = f"{estimate.answer_tokens} tokens, by batch"
        rows.append((f"{by_batch}, within {estimate.worst_hours:g} hours", dollars(estimate.batch_usd)))
        if estimate.mixed_usd != estimate.batch_usd:
            rows.append((f"{by_batch}, but the last stage live", dollars(estimate.mixed_usd)))
    unknown = f" · no price known for {unpriced(estimate)}" if estimate.unpriced else ""
    heading = f"{estimate.calls} calls, estimated{fallbacks(estimate)}{unknown}"
    return Card(heading, ("if each answer has", "cost"), rows)


def _said(reply: Reply) -> str:
    """What is to be known about a reply, and its text."""
    problem = reply.failure.message if reply.failure else ""
    return "\n\n".join(filter(None, [*reply.warnings, problem, reply.text.strip()]))


def _thinking_note(reply: Reply, where: str) -> str:
    if not reply.thinking:
        return ""
    tokens = "" if reply.thinking_tokens is None else f", {count(reply.thinking_tokens)} tokens"
    return f"{_writer(reply)} thought first: {len(reply.thinking):,} characters{tokens}, in {where}"


def summary(reply: Reply) -> str:
    """What happened to a call, in one line."""
    if reply.abandoned:
        return f"stopped after {seconds(reply.elapsed)}"
    if reply.failure:
        return f"failed ({reply.failure.kind}) after {seconds(reply.elapsed)}"
    done = "cut off at its token limit" if reply.truncated else "answered"
    hedge = f" by its second request, to {reply.written_by}" if reply.by_hedge else ""
    return f"{done} in {seconds(reply.elapsed)}{hedge}{' (kept: recorded time)' * reply.kept}"


def heading(answer: Answer) -> str:
    """What the reader has to know about an answer: how many replies it is based on, who wrote it, and who failed."""
    last, tried = answer.layers[-1], len(answer.failed_aggregators)
    used = sum(reply not in answer.left_out for reply in last.good)
    how_many, answered = f"{used} of {len(last)}", f"{len(last.good)} of {len(last)}"
    entries = Counter(model for model, _ in {(reply.model, reply.settings) for reply in answer.replies})

    def who(reply: Reply) -> str:  # with its settings, where nothing else tells it from another
        return named(reply) if entries[reply.model] > 1 else reply.model

    by = f" by {who(answer.aggregator)}" if answer.aggregator and tried else ""
    done = f"{_writer(answer.picked)} picked{by} out of" if answer.picked else f"synthesised{by} from"
    failed = f"all {tried + 1} aggregators that were asked" if tried else "the aggregator"
    words = {
        "complete": f"{done} {how_many}" + ", so nothing was compared" * (len(last) == 1),
        "partial": f"{done} {how_many}",
        "single": f"written{by} from the only answer that came ({how_many}), so nothing was compared",
        "below_quorum": f"no synthesis: {answered} answered, {answer.quorum} were needed",
        "aggregator_failed": f"no synthesis: {failed} failed; the answers of {answered} are in .layers",
        "all_failed": f"no answer: every reference model of layer {len(answer.layers)} failed",
    }
    said = answer.picked or answer.aggregator
    what = f"{NO_ANSWER} ({words[answer.outcome]})" if said and unprepared([said]) else words[answer.outcome]
    notes = [f"{who(reply)} {reply.summary}" for reply in answer.replies if not reply.ok or reply.by_hedge]
    notes += [f"{who(reply)} left out, as it agrees too little with the others" for reply in answer.left_out]
    if answer.text and said and said.truncated:
        notes.append("the answer is cut off at its token limit")
    warned = {who(one): text for one in answer.replies for text in one.warnings}  # the last of a model says it all
    notes += [f"{name}: {text.rstrip('.')}" for name, text in warned.items()]
    last_one = [answer.aggregator] if answer.aggregator and answer.outcome == "aggregator_failed" else []
    unread = [one for one in (*answer.failed_aggregators, *last_one) if one.ok]
    notes += [f"{who(one)} was to name the best by its number, and did not" for one in unread]
    if answer.skipped:
        notes.append(f"{answer.skipped} layer{'s' * (answer.skipped > 1)} left out, as the last two agreed")
    if answer.outcome == "all_failed" and len(answer.layers) > 1:
        notes.append("the answers of the layers before are in .layers")
    return "; ".join([what, *notes])


def roles(answer: Answer) -> list[str]:
    """What each of an answer's calls was for: ``layer 1``, …, ``failed aggregator``, …, ``aggregator``."""
    found = [f"layer {number}" for number, layer in enumerate(answer.layers, 1) for _ in layer]
    found += ["failed aggregator"] * len(answer.failed_aggregators)
    return found + ["aggregator"] * (answer.aggregator is not None)


def unprepared(replies: Sequence[Reply]) -> str:
    """A remark where all that was said is stand-ins' word that they do not know the question."""
    known = not replies or any(not (reply.offline and reply.text.startswith(UNPREPARED)) for reply in replies)
    return "" if known else f" · {NO_ANSWER}"


def _writer(reply: Reply) -> str:
    return named(reply.hedged[1] if reply.by_hedge else reply)


def named(reply: Reply) -> str:
    """A reply's model, and what its member was given; what cannot be printed in that is shown as a mark."""
    settings = "".join(sign if sign.isprintable() else "\ufffd" for sign in reply.settings)
    return f"{reply.model} ({settings})" if settings else reply.model


def seconds(value: float | None) -> str:
    """A time for the reader: ``1.23 s``."""
    return "unknown" if value is None else f"{value:.2f} s"


def dollars(value: float | None, least: float = 0.0) -> str:
    """A price for the reader, with enough digits for a single small call: ``$0.000123``.

    If it is unknown but ``least`` of it is certain: ``at least $0.000100``.
    """
    if value is None:
        return f"at least ${least:.6f}" if least >= 5e-7 else "unknown"
    return f"${value:.6f}"


def spent(result: Reply | Replies | Answer) -> str:
    """What a result cost, for the reader; of what was kept, what it costs now and how much of it was kept."""
    calls = (result,) if isinstance(result, Reply) else result.replies if isinstance(result, Answer) else result
    kept, cost = sum(reply.kept for reply in calls), dollars(result.cost_usd, result.least_usd)
    if kept and isinstance(result, Reply):
        return f"$0 now, {dollars(result.first_cost_usd)} when it was asked"
    return with_kept(cost, kept, len(calls))


def with_kept(cost: str, kept: int, calls: int) -> str:
    """What calls cost now, and how many of them were kept."""
    return f"{'$0' if cost == dollars(0) else cost} now, {kept} of {calls} calls kept" if kept else cost


def lasted(elapsed: float, replies: Sequence[Reply]) -> str:
    """The time of several calls, and whether it is a recorded one, as those of calls that were kept are."""
    kept = {reply.kept for reply in replies}
    return seconds(elapsed) + ("" if True not in kept else " (partly recorded)" if False in kept else " (recorded)")


def fallbacks(estimate: Estimate) -> str:
    """What an estimate leaves out: the aggregators that are asked only where the first fails."""
    many = estimate.fallbacks
    return f", without {many} fallback aggregator{'s' * (many > 1)}" if many else ""


def unpriced(estimate: Estimate) -> str:
    """The models whose price is not known, and why, where their name says it."""
    return ", ".join(name + _unlisted(name.partition(" above ")[0]) for name in estimate.unpriced)


def _unlisted(name: str) -> str:
    """A remark on a model that nobody has priced."""
    vendor, _, model = name.partition(":")
    known = name in listed() or (vendor in VENDORS and model in VENDORS[vendor].prices)
    return "" if known else " (not in the catalogue)"


def count(value: int | None) -> str:
    """A number of tokens for the reader."""
    return "unknown" if value is None else f"{value:,}"


def _literal(text: str) -> str:
    """A text on one line of Markdown, shown as it is: no link (not even a bare address), image or HTML."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]()#+!|<>&~$]|:(?=//)|(?<=www)\.)", r"\\\1", line)
