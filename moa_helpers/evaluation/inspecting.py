"""A comparison as a log that inspect_ai's viewer opens; written from plain data, without inspect_ai.

Its format is version 2 of ``inspect_ai.log.EvalLog``: one task, whose samples are the answers, a question's side by
side. A sample's metadata names the strategy, and each metric is grouped by it.
"""

import io
import json
import zipfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from moa_helpers.evaluation import measures
from moa_helpers.evaluation.comparison import Answered, Comparison, Judged
from moa_helpers.evaluation.questions import Question
from moa_helpers.limits.conversations import read_prompt
from moa_helpers.texts import save
from moa_helpers.vendors.secrets import hide_used
from moa_helpers.vendors.settings import current

LONGEST_ID = 60  # characters of a name in a sample's id, which in the file is the name of a part
IN_A_LIST = 1000  # characters of a text in the list of samples; the sample has it whole
Json = dict[str, Any]


def to_inspect(comparison: Comparison, path: str | Path) -> Path:
    """Write the log; see ``Comparison.to_inspect``."""
    ending = Path(path).suffix
    if ending not in (".eval", ".json"):
        raise ValueError(f"inspect_ai knows its logs by the ending: name the file comparison.eval, not {path}.")
    samples = _samples(comparison)
    head = _head(comparison, samples)
    if ending == ".json":
        return save(path, _written(head | {"samples": samples}))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        for sample in samples:
            parts.writestr(f"samples/{sample['id']}_epoch_1.json", _written(sample))
        parts.writestr("_journal/start.json", _written({name: head[name] for name in ("version", "eval", "plan")}))
        parts.writestr("summaries.json", _written([_summary(sample) for sample in samples]))
        parts.writestr("header.json", _written(head))
    return save(path, file.getvalue())


def _written(data: Any) -> bytes:
    """JSON, without keys; half a character, which no file can hold, becomes a question mark."""
    return hide_used(json.dumps(data, ensure_ascii=False, default=str)).encode(errors="replace")


def _head(comparison: Comparison, samples: list[Json]) -> Json:
    """All but the samples."""
    names = dict.fromkeys(name for sample in samples for name in sample["scores"])
    judges = comparison.judges_table().reset_index().to_json(orient="records")
    metadata = {
        "strategies": {name: str(how) for name, how in comparison.given.items()},
        "baseline": comparison.baseline,
        "table": json.loads(comparison.table().reset_index().to_json(orient="records")),
        "judges": json.loads(judges),
        "cost_usd": comparison.cost_usd,
        "offline": any(each.offline for each in comparison.answers),
        "questions_planned": comparison.planned,
        "warnings": comparison.warnings,
    }
    spec = {
        **{name: uuid4().hex for name in ("eval_id", "run_id", "task_id")},
        "created": datetime.now(UTC).isoformat(),
        "task": "comparison",
        "dataset": {
            "name": comparison.path.name,
            "samples": len(samples),
            "sample_ids": [sample["id"] for sample in samples],
            "shuffled": False,
        },
        "model": ", ".join(comparison.strategies),
        "config": {},
        "packages": dict(current().versions),
        "metadata": metadata,
        "scorers": [{"name": name} for name in names],
    }
    results = {
        "total_samples": comparison.planned * len(comparison.strategies),
        "completed_samples": len(samples),
        "scores": [_score(name, samples) for name in names],
    }
    asked = len({each.question for each in comparison.answers})
    status = "success" if asked == comparison.planned else "cancelled"
    return {"version": 2, "status": status, "eval": spec, "plan": {"steps": []}, "results": results, "stats": {}}


def _score(name: str, samples: list[Json]) -> Json:
    """A scorer's mean for each strategy, with its interval."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        if name in sample["scores"]:
            found.setdefault(sample["metadata"]["strategy"], []).append(sample["scores"][name]["value"])
    metrics = {}
    for strategy, values in found.items():
        mean = measures.interval(values)
        bounds = {"low": mean.low, "high": mean.high, "questions": len(values)}
        metrics[strategy] = {"name": strategy, "group": "mean", "value": mean.value, "metadata": bounds}
    scored = sum(map(len, found.values()))
    counts = {"scored_samples": scored, "unscored_samples": len(samples) - scored}
    return {"name": name, "scorer": name, "metrics": metrics, **counts}


def _samples(comparison: Comparison) -> list[Json]:
    """One for each answer."""
    known = {question.id: question for question in comparison.questions}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(each.question for each in comparison.answers), 1)}
    judged: dict[tuple[str, str], list[Judged]] = {}
    for each in comparison.judgements:
        judged.setdefault((each.question, each.strategy), []).append(each)
    return [
        _sample(
            f"{numbers[each.question]} {_short(each.question)} · {_short(each.strategy)}",
            each,
            known.get(each.question) or Question(each.question, each.question),
            judged.get((each.question, each.strategy), []),
        )
        for each in comparison.answers
    ]


def _short(name: str) -> str:
    """The beginning of a name, as it may stand in the name of a file's part."""
    return "".join(sign if sign.isprintable() and sign != "\\" else " " for sign in name[:LONGEST_ID])


def _sample(name: str, answered: Answered, question: Question, judged: list[Judged]) -> Json:
    system, before, last = read_prompt(question.prompt)
    turns = [("system", system)] * bool(system) + [(turn.role, turn.text) for turn in before] + [("user", last)]
    messages = [{"role": role, "content": text} for role, text in turns]
    message = {"role": "assistant", "content": answered.text, "source": "generate", "model": answered.strategy}
    choices = [{"message": message, "stop_reason": "stop"}] if answered.text else []
    error = {} if answered.text else {"error": answered.outcome}
    facts = {key: value for key, value in asdict(answered).items() if key != "text" and value is not None}
    return {
        "id": name,
        "epoch": 1,
        "input": messages if len(messages) > 1 else last,
        "target": question.reference or "",
        "messages": [*messages, message] if answered.text else messages,
        "output": {"model": answered.strategy, "choices": choices, "time": answered.seconds, **error},
        "scores": _scores(answered, judged),
        "metadata": facts,
        "total_time": answered.seconds,
    }


def _scores(answered: Answered, judged: list[Judged]) -> Json:
    """What each judge said, and the share of prepared points that the answer has."""
    found: Json = {}
    for each in judged:
        if each.score is not None:
            places = "not asked" if each.places is None else f"it chose the places {each.places[0]} and {each.places[1]}"
            said = {"cost_usd": each.cost_usd, "places": each.places}
            found[f"judge {each.judge}"] = {"value": each.score, "explanation": places, "metadata": said}
    if answered.points_right is not None and answered.points_possible:
        words = f"{answered.points_right} of {answered.points_possible} right, {answered.points_wrong} wrong"
        found["points share"] = {"value": answered.points_right / answered.points_possible, "explanation": words}
    return found


def _summary(sample: Json) -> Json:
    """A sample as the viewer lists it."""
    listed = {name: sample[name] for name in ("id", "epoch", "input", "target", "scores", "metadata", "total_time")}
    listed["target"] = sample["target"][:IN_A_LIST]
    if isinstance(sample["input"], str):
        listed["input"] = sample["input"][:IN_A_LIST]
    return listed | {"completed": True, "message_count": len(sample["messages"])}
