"""A comparison as a log for the viewer of inspect_ai, written from plain data without inspect_ai.

Its format is version 2 of ``inspect_ai.log.EvalLog``. It has one task. The samples are the answers, question by
question. A sample's metadata names the strategy, and the metrics are grouped by it.
"""

import io
import json
import zipfile
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from moa_helpers.bulk.questions import Question
from moa_helpers.evaluation.comparison import Answered, Comparison, Judged, Scored, by_question
from moa_helpers.evaluation.views import described
from moa_helpers.limits.conversations import read_prompt
from moa_helpers.texts import save
from moa_helpers.vendors.secrets import hide_used
from moa_helpers.vendors.settings import current

LONGEST_ID = 60  # characters of a name in a sample's id, which names a part of the file
IN_A_LIST = 1000  # characters of a text in the list of samples
Json = dict[str, Any]


def to_inspect(comparison: Comparison, path: str | Path) -> Path:
    """Write the log; see ``Comparison.to_inspect``."""
    if Path(path).suffix not in (".eval", ".json"):
        raise ValueError(f"inspect_ai knows its logs by the ending: name the file comparison.eval, not {path}.")
    samples = _samples(comparison)
    head = _head(comparison, samples)
    if Path(path).suffix == ".json":
        return save(path, _written(head | {"samples": samples}))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        for sample in samples:
            parts.writestr(f"samples/{sample['id']}_epoch_1.json", _written(sample))
        parts.writestr("summaries.json", _written([_summary(sample) for sample in samples]))
        parts.writestr("header.json", _written(head))
    return save(path, file.getvalue())


def _written(data: Any) -> bytes:
    """JSON without keys. Half a character, which no file can hold, becomes a question mark."""
    return hide_used(json.dumps(data, ensure_ascii=False)).encode(errors="replace")


def _head(comparison: Comparison, samples: list[Json]) -> Json:
    """The log without its samples."""
    now = datetime.now(UTC).isoformat()  # the time of the calls is not known
    values = defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list))  # score -> strategy -> of each answer
    for sample in sorted(samples, key=lambda each: -len(each["scores"])):  # the longest list sets the scores' order
        for name, score in sample["scores"].items():
            values[name][sample["metadata"]["strategy"]].append(score["value"])
    scores = []
    for name, found in values.items():
        means = {one: {"name": one, "group": "mean", "value": sum(each) / len(each)} for one, each in found.items()}
        scores.append({"name": name, "scorer": name, "metrics": means})
    ids = [sample["id"] for sample in samples]
    spec = {
        **{name: uuid4().hex for name in ("eval_id", "run_id", "task_id")},
        "created": now,
        "task": "comparison",
        "dataset": {"name": comparison.path.name, "samples": len(ids), "sample_ids": ids},
        "model": ", ".join(comparison.strategies),
        "config": {},
        "packages": dict(current().versions),
        "scorers": [{"name": name} for name in values],
        "metadata": {
            "baseline": comparison.baseline,
            "strategies": {name: described(how) for name, how in comparison.given.items()},
            "offline": any(each.offline for each in comparison.answers),
            "cost_usd": comparison.cost_usd,
            "warnings": comparison.warnings,
        },
    }
    planned = comparison.planned * len(comparison.strategies)
    return {
        "version": 2,
        "status": "success" if len(samples) == planned else "cancelled",
        "eval": spec,
        "results": {"total_samples": planned, "completed_samples": len(samples), "scores": scores},
        "stats": {"started_at": now, "completed_at": now},
    }


def _samples(comparison: Comparison) -> list[Json]:
    """One for each answer."""
    found = [*by_question(comparison)]
    digits = len(str(len(found)))
    return [
        {
            "id": f"{number:0{digits}} {_short(one.question)} · {_short(one.strategy)}",
            "epoch": 1,
            **_said(one, question),
            "scores": _scores(one, judged, scored.get(one.strategy)),
            "metadata": {name: value for name, value in asdict(one).items() if name != "text" and value is not None},
            "total_time": one.seconds,
        }
        for number, (question, answers, judged, scored) in enumerate(found, 1)
        for one in answers
    ]


def _short(name: str) -> str:
    """The beginning of a name, fit for the name of a file's part."""
    short = hide_used(name)[:LONGEST_ID]
    return "".join(sign if sign.isprintable() and sign not in "/\\" else " " for sign in short)


def _said(answered: Answered, question: Question) -> Json:
    """Question and answer as messages."""
    system, before, last = read_prompt(question.prompt)
    turns = [*([("system", system)] if system else []), *((turn.role, turn.text) for turn in before), ("user", last)]
    messages: list[Json] = [{"role": role, "content": text} for role, text in turns]
    given = messages if len(messages) > 1 else last
    output: Json = {"model": answered.strategy, "choices": [], "error": answered.outcome}
    if answered.text:
        message = {"role": "assistant", "content": answered.text, "source": "generate", "model": answered.strategy}
        output = {"model": answered.strategy, "choices": [{"message": message, "stop_reason": "stop"}]}
        messages = [*messages, message]
    return {"input": given, "target": question.reference or "", "messages": messages, "output": output}


def _scores(answered: Answered, judged: list[Judged], scored: Scored | None) -> Json:
    """The score, each judge's verdict, and the answer's share of the prepared points."""
    found: Json = {}
    if scored and not scored.problem:
        read = "nothing to read" if scored.value is None else ""
        found["score"] = {"value": scored.value or 0.0, "answer": scored.read, "explanation": read}
    for each in judged:
        if each.strategy == answered.strategy and each.score is not None:
            facts = {"places": each.places, "cost_usd": each.cost_usd}
            found[f"judge {each.judge}"] = {"value": each.score, "metadata": facts}
    if answered.points_right is not None and answered.points_possible:
        told = f"{answered.points_right} of {answered.points_possible} right, {answered.points_wrong} wrong"
        found["points share"] = {"value": answered.points_right / answered.points_possible, "explanation": told}
    return {name: {"answer": answered.text[:IN_A_LIST], **score} for name, score in found.items()}


def _summary(sample: Json) -> Json:
    """A sample as the viewer lists it."""
    listed = {name: sample[name] for name in ("id", "epoch", "input", "scores", "metadata", "total_time")}
    if isinstance(sample["input"], str):
        listed["input"] = sample["input"][:IN_A_LIST]
    return listed | {"target": sample["target"][:IN_A_LIST], "completed": True}
