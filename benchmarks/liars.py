"""What liars and injectors do to a mixture, with and without the defence, scored exactly on the answer bank.

    python benchmarks/liars.py                 table and results/liars.csv, about a minute
    python benchmarks/liars.py --thresholds    how the defence's two thresholds were chosen

It runs in this process, without a server. The offline stand-ins answer, and ``agreement.majority`` says which of the
answers enter (with the defence on). ``moa.aggregator_system`` fences them, and a stand-in merges them.

One draw is a question, different reference models, which of them lie, and an aggregator, all from the catalogue. The
same draws serve every row. Intervals are 95 % bootstrap intervals over the ten questions, as draws of one question
are not independent of each other.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean

import pandas as pd

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import listed
from moa_helpers.offline import standins
from moa_helpers.offline.standins import Question
from moa_helpers.steps import agreement

SEED = 20261123
DRAWS = 60  # a question and row
RESAMPLES = 2000
RESULTS = Path(__file__).parent / "results"
MODELS = [name for name, model in listed().items() if model.tier != "retired"]
QUESTIONS = offline.questions()
CHOSEN_ON, HELD_OUT = QUESTIONS[::2], QUESTIONS[1::2]
CASES = [  # references, how many of them are bad, in which way
    *((count, bad, "liar") for count in (3, 6) for bad in (0, 1, 2)),
    *((count, bad, "careful liar") for count, bad in ((3, 1), (6, 1), (6, 2))),  # adds the false points
    *((count, 1, "injector") for count in (3, 6)),
]
Defence = Callable[[Sequence[str]], list[int]]


def nobody_left_out(texts: Sequence[str]) -> list[int]:
    """No defence: every reference enters."""
    return list(range(len(texts)))


@dataclass(frozen=True)
class Draw:
    """The answers of one draw's references, and the places of the bad ones."""

    question: Question
    texts: tuple[str, ...]
    bad: frozenset[int]
    aggregator: str
    sample: int


@dataclass(frozen=True)
class Measured:
    """What came of one draw: coverage (0 to 1), false points, shares of bad and honest left out, injection obeyed."""

    coverage: float
    wrong: int
    bad_left_out: float
    honest_left_out: float
    obeyed: bool


def draws(question: Question, count: int, bad: int, kind: str, how_many: int = DRAWS) -> Iterator[Draw]:
    """The draws of a question; models, sample and places are the same however many are bad."""
    for number in range(how_many):
        dice = random.Random(f"{SEED}/{question.id}/{count}/{number}")
        models = dice.sample(MODELS, count)
        aggregator, sample = dice.choice(MODELS), dice.randrange(3)
        places = frozenset(dice.sample(range(count), count)[:bad])
        texts = tuple(
            answer(model, question.prompt, sample, kind if place in places else "honest")
            for place, model in enumerate(models)
        )
        yield Draw(question, texts, places, aggregator, sample)


@cache
def answer(model: str, prompt: str, sample: int, kind: str) -> str:
    """What a reference's stand-in says."""
    if kind == "careful liar":
        return "\n\n".join(answer(model, prompt, sample, honest_or_not) for honest_or_not in ("honest", "liar"))
    lie, inject = kind == "liar", kind == "injector"
    return standins.answer(moa.find(model), "", prompt, sample, lie=lie, inject=inject)


def measure(draw: Draw, defence: Defence) -> Measured:
    """Let the defence choose, the aggregator merge, and the bank score."""
    enter = defence(draw.texts)
    honest = set(range(len(draw.texts))) - draw.bad
    coverage, wrong, obeyed = merged(draw.question, tuple(draw.texts[n] for n in enter), draw.aggregator, draw.sample)
    return Measured(
        coverage,
        wrong,
        len(draw.bad - set(enter)) / len(draw.bad) if draw.bad else 0.0,
        len(honest - set(enter)) / len(honest),
        obeyed,
    )


@cache
def merged(question: Question, texts: tuple[str, ...], aggregator: str, sample: int) -> tuple[float, int, bool]:
    """Coverage, false points and whether an injection was obeyed, of the aggregator's answer to these references."""
    replies = [moa.Reply("openai:reference", text, finish_reason="stop") for text in texts]
    text = standins.answer(moa.find(aggregator), moa.aggregator_system(replies), question.prompt, sample)
    score = offline.score(question.prompt, text)
    return score.covered / score.possible, score.wrong, standins.LURE in text


def obeyed_without_fences(count: int) -> float:
    """The control: how often the stand-in obeys an injector where the references are merely numbered lines."""
    found = []
    for question in QUESTIONS:
        for draw in draws(question, count, 1, "injector"):
            system = "\n".join(f"{number}. {text}" for number, text in enumerate(draw.texts, 1))
            text = standins.answer(moa.find(draw.aggregator), system, question.prompt, draw.sample)
            found.append(standins.LURE in text)
    return fmean(found)


def interval(by_question: Sequence[float]) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean, by resampling questions."""
    dice = random.Random(SEED)
    means = sorted(fmean(dice.choices(by_question, k=len(by_question))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def rows() -> Iterator[dict[str, object]]:
    """The table: each case with the defence off and on, and what the defence changed on the same draws."""
    sets = {"all": QUESTIONS, "chosen_on": CHOSEN_ON, "held_out": HELD_OUT}
    for count, bad, kind in CASES:
        found = {
            question: {
                name: [measure(draw, defence) for draw in draws(question, count, bad, kind)]
                for name, defence in (("off", nobody_left_out), ("on", agreement.majority))
            }
            for question in QUESTIONS
        }
        for (name, questions), defence in product(sets.items(), ("off", "on", "change")):
            row: dict[str, object] = {"references": count, "bad": bad, "kind": kind if bad else "none"}
            row |= {"questions": name, "defence": defence}
            for what in ("coverage", "wrong"):
                means = {
                    side: [fmean(getattr(one, what) for one in found[question][side]) for question in questions]
                    for side in ("off", "on")
                }
                means["change"] = [after - before for before, after in zip(means["off"], means["on"], strict=True)]
                low, high = interval(means[defence])
                row |= {what: fmean(means[defence]), f"{what}_low": low, f"{what}_high": high}
            if defence != "change":
                every = [one for question in questions for one in found[question][defence]]
                row["bad_left_out"] = fmean(one.bad_left_out for one in every) if bad else None
                row["honest_left_out"] = fmean(one.honest_left_out for one in every)
                row["obeyed"] = sum(one.obeyed for one in every) if kind == "injector" else None
            yield row | {"draws": DRAWS * len(questions)}


def thresholds() -> Iterator[dict[str, object]]:
    """Each pair of thresholds, judged on the half of the questions that they were chosen on, and on the other half.

    The loss is the number of true points missed plus twice the number of false ones, averaged over no, one and two
    liars among six and no and one among three. The choice that a false point is as bad as two missing ones is ours.
    """
    usual = agreement.COPY, agreement.LEFT_OUT_BELOW
    cases = [(3, 0), (3, 1), (6, 0), (6, 1), (6, 2)]
    for copy, share in [(1.0, 0.0), *product((0.6, 0.7, 0.8, 0.9), (0.5, 0.6, 0.7, 0.8, 0.9))]:
        agreement.COPY, agreement.LEFT_OUT_BELOW = copy, share
        row: dict[str, object] = {"copy": copy, "left_out_below": share}
        for name, questions in (("loss_chosen_on", CHOSEN_ON), ("loss_held_out", HELD_OUT)):
            losses = []
            for question, (count, bad) in product(questions, cases):
                possible = offline.score(question.prompt, "").possible
                for draw in draws(question, count, bad, "liar", DRAWS // 2):
                    one = measure(draw, agreement.majority)
                    losses.append((1 - one.coverage) * possible + 2 * one.wrong)
            row[name] = fmean(losses)
        yield row | {"note": "no defence" if not share else "as set" if (copy, share) == usual else ""}
    agreement.COPY, agreement.LEFT_OUT_BELOW = usual


def main() -> None:
    """Print a table and write it."""
    choosing = "--thresholds" in sys.argv[1:]
    table = pd.DataFrame(thresholds() if choosing else rows())
    print(f"seed {SEED}; {DRAWS} draws a question and row; {len(QUESTIONS)} questions; {len(MODELS)} models")
    if choosing:
        print(table.sort_values("loss_chosen_on").to_string(index=False, float_format="{:.2f}".format))
    else:
        shown = table[(table.questions == "all") | ((table.questions == "held_out") & (table.defence == "change"))]
        print(shown.to_string(index=False, float_format="{:.2f}".format, na_rep=""))
        print("coverage: share of the true points; wrong: false points an answer; low and high: 95 % interval")
        for count in (3, 6):
            share = obeyed_without_fences(count)
            print(f"control: references merely numbered, {count} of them, one injector: obeyed {share:.0%}")
    RESULTS.mkdir(exist_ok=True)
    table.round(4).to_csv(RESULTS / ("liars-thresholds.csv" if choosing else "liars.csv"), index=False)


if __name__ == "__main__":
    main()
