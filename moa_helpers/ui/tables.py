"""Tables of results, as pandas' data frames. Missing values are unknown."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moa_helpers.results import Answer, Reply
from moa_helpers.steps.agreement import sentences_of, words_of
from moa_helpers.ui.cards import roles
from moa_helpers.ui.html import visible

COLUMNS: dict[str, Callable[[Reply], Any]] = {
    "model": lambda reply: reply.model,
    "outcome": lambda reply: reply.failure.kind if reply.failure else "truncated" if reply.truncated else "ok",
    "started_s": lambda reply: reply.started,
    "ttft_s": lambda reply: reply.ttft,
    "elapsed_s": lambda reply: reply.elapsed,
    "input_tokens": lambda reply: reply.input_tokens,
    "output_tokens": lambda reply: reply.output_tokens,
    "cost_usd": lambda reply: reply.cost_usd,
    "attempts": lambda reply: len(reply.attempts),
    "second_request": lambda reply: (
        "".join(other.model for other in reply.hedged[1:]) + " (its answer counts)" * reply.by_hedge
    ),
    "kept": lambda reply: reply.kept,
    "settings": lambda reply: visible(reply.settings),
}


def table(calls: Answer | Sequence[Reply]) -> pd.DataFrame:
    """One row a call.

    ``outcome`` is ok, truncated, or the kind of failure. ``started_s`` counts seconds after the first call began.
    ``second_request`` is empty, or says to which model it was, and whether its answer counts. A call that was ``kept``
    was asked before: it cost nothing now, and its times are recorded. ``settings`` are those of its ``Member``. The
    other columns are ``model``, ``ttft_s``, ``elapsed_s``, ``input_tokens``, ``output_tokens``, ``cost_usd`` and
    ``attempts``. Missing values are unknown.

    An ``Answer`` has two more: ``role`` in front tells layers and aggregators, ``left_out`` before ``kept`` what
    ``robust`` left out.
    """
    replies = calls.replies if isinstance(calls, Answer) else calls
    numbers = {"ttft_s": "Float64", "input_tokens": "Int64", "output_tokens": "Int64", "cost_usd": "Float64"}
    rows = [[value(reply) for value in COLUMNS.values()] for reply in replies]
    found = pd.DataFrame(rows, columns=[*COLUMNS]).astype(numbers).rename_axis("call")
    found["started_s"] -= found["started_s"].min()
    if isinstance(calls, Answer):
        found.insert(0, "role", roles(calls))
        found.insert(len(COLUMNS) - 1, "left_out", [reply in calls.left_out for reply in replies])
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
    found = {sentence: words_of(sentence) for sentence in sentences_of(visible(text))}
    compared = {sentence: words for sentence, words in found.items() if len(words) >= 4}
    columns = {name: _closest([*compared.values()], sentences_of(other)) for name, other in usable.items()}
    return pd.DataFrame(columns, index=pd.Index([*compared], dtype=object), columns=[*usable])


def _closest(sentences: Sequence[set[str]], others: Sequence[str]) -> list[float]:
    """For each sentence, as its words, the largest share of them that one of the others has, too."""
    holding = defaultdict[str, list[int]](list)  # word -> the others that have it
    for place, other in enumerate(others):
        for word in words_of(other):
            holding[word].append(place)
    places = {word: np.array(listed) for word, listed in holding.items()}
    shares = []
    for words in sentences:
        same = np.zeros(len(others) + 1, int)
        for word in words & places.keys():
            same[places[word]] += 1
        shares.append(float(same.max()) / len(words))
    return shares
