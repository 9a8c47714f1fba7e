"""Tables of results, as pandas' data frames. Missing values are unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from moa_helpers.results import Answer, Reply
from moa_helpers.steps.agreement import sentences_of, words_of
from moa_helpers.ui.cards import roles

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


def table(calls: Answer | Sequence[Reply]) -> pd.DataFrame:
    """One row a call.

    Columns: ``model``, ``outcome`` (ok, truncated, or the kind of failure), ``started_s`` (seconds after the first
    call began), ``ttft_s``, ``elapsed_s``, ``input_tokens``, ``output_tokens``, ``cost_usd``, ``attempts``,
    ``second_request`` (empty, or to which model, and whether its answer counts). Missing values are unknown.

    An ``Answer`` has two more: ``role`` in front tells layers and aggregator, ``left_out`` at the end what ``robust``
    left out.
    """
    replies = calls.replies if isinstance(calls, Answer) else calls
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
            reply.hedged[1].model + " (its answer counts)" * reply.by_hedge if reply.hedged else "",
        )
        for reply in replies
    ]
    numbers = {"ttft_s": "Float64", "input_tokens": "Int64", "output_tokens": "Int64", "cost_usd": "Float64"}
    found = pd.DataFrame(rows, columns=COLUMNS).astype(numbers).rename_axis("call")
    if isinstance(calls, Answer):
        found.insert(0, "role", roles(calls))
        found["left_out"] = [reply in calls.left_out for reply in replies]
    return found


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
