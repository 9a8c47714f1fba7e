"""Comparisons written by hand, to be shown and handed on."""

from pathlib import Path

from moa_helpers.bulk.questions import Question
from moa_helpers.evaluation.comparison import NULL, Answered, Comparison, Judged, Scored
from tests.support.replies import A, B, C


def answered(question, strategy, text, **more):
    facts = {"outcome": "ok" if text else "timeout", "calls": 1, "cost_usd": 0.25, "seconds": 1.5, "offline": False}
    return Answered(question=question, strategy=strategy, text=text, characters=len(text), **facts | more)


def judged(question, strategy, judge, places):
    score = {(1, 2): 1.0, (2, 1): 0.0}.get(places, 0.5)
    return Judged(question=question, strategy=strategy, judge=judge, places=places, score=score, cost_usd=0.125)


def compared(questions, strategies, answers, judgements=(), judges=(), given=None, **more):
    return Comparison(
        strategies=tuple(strategies),
        judges=tuple(judges),
        planned=len(questions),
        answers=tuple(answers),
        judgements=tuple(judgements),
        questions=tuple(questions),
        given=given or dict.fromkeys(strategies, A),
        **{"path": Path("runs", "mine.sqlite"), **more},
    )


def hostile(texts):
    """Whatever may hold a text of another's holds each of these, but for prompts, which are whole characters."""
    questions = [Question(text, text.replace("\ud83d", "!"), text) for text in texts]
    answers = [answered(one.id, name, one.id, outcome=one.id[:9]) for one in questions for name in ("one", "<i>")]
    verdicts = [judged(one.id, "<i>", C, (1, 2)) for one in questions[:2]]
    return compared(questions, ["one", "<i>"], answers, verdicts, [C], problem="<script>")


def ordinary():
    """A comparison with all that a report can show."""
    questions = [Question(f"q{number}", f"Why {number}?", "Because.") for number in range(8)]
    points = {"points_right": 2, "points_wrong": 1, "points_possible": 4, "offline": True}
    answers = [answered(one.id, name, "Because.\n" * 3, **points) for one in questions for name in ("a", "b", "c")]
    pairs = [(1, 2), (2, 1), (1, 1), (1, 2)]
    verdicts = [
        judged(one.id, name, judge, pairs[(number + at) % 4])
        for number, one in enumerate(questions)
        for at, (name, judge) in enumerate([("b", B), ("b", C), ("c", B), ("c", C), (NULL, B), (NULL, C)])
    ]
    scored = [
        Scored(question=one.id, strategy=name, reference="Because.", value=value, read=read, problem=problem)
        for number, one in enumerate(questions)
        for name, value, read, problem in [
            ("a", 1.0, "Because.", ""),
            ("b", None, "", ""),
            ("c", 1.0, "Because.", "") if number else ("c", None, "", "ValueError: no"),
        ]
    ]
    given = {"a": A, "b": B, "c": {"reference_models": [A, B, C], "aggregator": A}}
    return compared(questions, given, answers, verdicts, [B, C], given, scored=tuple(scored))
