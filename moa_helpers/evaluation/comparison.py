"""What a comparison of strategies found: who wins, what it costs, and whether the judge can be trusted."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moa_helpers.bulk.questions import Question
from moa_helpers.evaluation import measures
from moa_helpers.evaluation.measures import Interval
from moa_helpers.results import total
from moa_helpers.shown import Shown, view

if TYPE_CHECKING:
    import pandas as pd

NULL = "null answer"  # the name of the control


@dataclass(frozen=True)
class Answered:
    """What a strategy gave for a question. ``points_…`` are known only for offline answers to prepared questions."""

    question: str
    strategy: str
    outcome: str  # an ``Answer.outcome``; of a single model "ok", or the kind of failure
    text: str  # empty if it failed
    calls: int
    cost_usd: float | None
    seconds: float  # the slowest call of each stage, added up
    characters: int
    offline: bool
    points_right: int | None = None
    points_wrong: int | None = None
    points_possible: int | None = None


@dataclass(frozen=True)
class Judged:
    """What a judge said of a strategy's answer (``one``) and the baseline's (``other``).

    ``places`` as in ``Verdict``, or None where it was not asked: the texts are the same, or one of them is missing.
    """

    question: str
    strategy: str
    judge: str
    places: tuple[int | None, int | None] | None
    score: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class Scored:
    """What a score said of a strategy's answer: 1 right, 0 wrong; None where it found nothing to read, or failed.

    ``read`` is what it read out of the answer, ``problem`` what the score raised.
    """

    question: str
    strategy: str
    reference: str | None
    value: float | None
    read: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Comparison(Shown):
    """What ``compare`` found. The first of ``strategies`` is the baseline, against which the others are judged.

    ``planned`` is the number of questions, ``problem`` why not all were asked, ``path`` the file that keeps the calls,
    ``questions`` all that were to be asked, ``given`` each strategy as ``compare`` was given it.
    """

    strategies: tuple[str, ...]
    judges: tuple[str, ...]
    planned: int
    answers: tuple[Answered, ...]
    judgements: tuple[Judged, ...]
    path: Path
    problem: str = ""
    scored: tuple[Scored, ...] = ()
    shared_usd: float = 0.0  # that several strategies' answers count, and that was paid once
    questions: tuple[Question, ...] = field(default=(), repr=False)
    given: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    _views = "moa_helpers.evaluation.views"

    @property
    def baseline(self) -> str:
        """The strategy against which the others are judged."""
        return self.strategies[0]

    @property
    def cost_usd(self) -> float | None:
        """US dollars for these answers and judgements, whichever start paid for them; None if any is unknown.

        Calls that failed in an earlier start, or were under way when it stopped, are counted in the file alone.
        """
        each = [*(each.cost_usd for each in self.answers), *(each.cost_usd for each in self.judgements)]
        return total([*each, -self.shared_usd])

    def scores(self, strategy: str, judge: str | None = None) -> dict[str, float]:
        """Question -> 1 where the strategy beats the baseline, 0 where it loses, 0.5 for a tie; the mean of the judges.

        An answer that failed loses, and ties with another that failed. Questions without a judgement are left out.
        ``judge`` is one of the judges; default: all. Raises ValueError if there is no such strategy or judge.
        """
        self._check(strategy, NULL)
        if judge is not None and judge not in self.judges:
            raise ValueError(f"{judge!r} is no judge of this comparison; it has {', '.join(self.judges) or 'none'}.")
        found: dict[str, list[float]] = {}
        for each in self.judgements:
            if each.strategy == strategy and judge in (None, each.judge) and each.score is not None:
                found.setdefault(each.question, []).append(each.score)
        return {question: math.fsum(values) / len(values) for question, values in found.items()}

    def values(self, strategy: str, what: str) -> list[float]:
        """One number a question, in the order of the questions; NaN where it is unknown.

        ``what`` is a numeric field of ``Answered``; or ``"points_share"``, the points that are right, as a share of
        those that could be; or ``"score"``, which is 0 where the score read nothing, and NaN where it failed. Raises
        ValueError if there is no such strategy.
        """
        self._check(strategy)
        if what == "score":
            return [
                math.nan if each.problem else each.value or 0.0 for each in self.scored if each.strategy == strategy
            ]
        own = [each for each in self.answers if each.strategy == strategy]
        if what == "points_share":
            pairs = [(each.points_right, each.points_possible) for each in own]
            return [right / of if right is not None and of else math.nan for right, of in pairs]
        return [math.nan if getattr(each, what) is None else float(getattr(each, what)) for each in own]

    def win_rate(self, strategy: str, judge: str | None = None) -> Interval | None:
        """The mean of ``scores`` with its interval (``measures.rate``); None if there are none."""
        scores = self.scores(strategy, judge)
        return measures.rate([*scores.values()]) if scores else None

    def win_rate_at_equal_length(self, strategy: str) -> Interval | None:
        """The win rate to expect if its answers were as long as the baseline's (``measures.at_equal_length``).

        Answers that failed have no length, and are left out. Raises ValueError if there is no such strategy.
        """
        self._check(strategy)
        size = {(each.question, each.strategy): each.characters for each in self.answers}
        pairs = [
            (score, size[question, strategy] / size[question, self.baseline])
            for question, score in self.scores(strategy).items()
            if size[question, strategy] and size[question, self.baseline]
        ]
        return measures.at_equal_length(*zip(*pairs, strict=True)) if pairs else None

    def table(self) -> "pd.DataFrame":
        """One row a strategy: numbers of ``questions`` and ``failed``, and means over the questions of the others.

        ``calls``, ``cost_usd`` (missing if unknown), ``seconds``, ``characters``; ``points_share`` and ``points_wrong``
        (missing if unknown), ``win_rate`` and ``win_rate_at_equal_length`` against the first row (shares), each of the
        four with its 95 % interval in ``…_low`` and ``…_high``. With a score also ``score`` (what it could not read
        counts as wrong), ``unparsed`` (how many these are), ``unscored`` (how often it failed), ``score_difference`` to
        the first row, question by question, and ``mcnemar_p`` (``measures.mcnemar``).
        """
        return view(self._views, "table", self)

    def scores_table(self) -> "pd.DataFrame":
        """One row a question and strategy: what the score ``read`` out of the ``text``, and what it made of that."""
        return view(self._views, "scores_table", self)

    def agreement(self, strategy: str, labels: Mapping[str, float] | None = None) -> "pd.DataFrame":
        """How far the judges, the score and you agree on whether a strategy's answers beat the baseline's.

        One row a pair of raters: the ``questions`` that both rated, how often they said the ``same``, Cohen's ``kappa``
        with its interval, and Krippendorff's ``alpha``; the last row has the ``alpha`` of all of them. Of the pairs the
        judges rate those that they were asked about, and the score those of which it read both.

        Args:
            strategy: not the baseline.
            labels: your own verdicts by the question's id: 1 it is better, 0 worse, 0.5 neither.

        Raises:
            ValueError: there is no such strategy, or a label is for no question, or another value.
        """
        self._check(strategy)
        return view(self._views, "agreement", self, strategy, self._checked(labels or {}))

    def corrected_win_rate(self, strategy: str, labels: Mapping[str, float]) -> Interval:
        """The judges' win rate, set right by your own labels of questions drawn at random (``measures.corrected``).

        Arguments and errors are those of ``agreement``; two labels are the fewest.
        """
        scores = self.scores(strategy)
        both = [(scores[name], label) for name, label in self._checked(labels).items() if name in scores]
        return measures.corrected([value for name, value in scores.items() if name not in labels], both)

    def judges_table(self) -> "pd.DataFrame":
        """One row a judge: what it was swayed by.

        ``pairs`` (judged in both orders, null answers apart), ``unread`` (pairs with a judgement missing; such a reply
        counts as paid, and is not asked for again), ``consistent`` (of the pairs in which it chose the same answer or
        the same place twice, the share of the former), ``position_bias`` with ``…_low`` and ``…_high`` (in logits; see
        ``measures.position_bias``), ``null_lost`` (the share of null answers that lost), ``verdict``.
        """
        return view(self._views, "judges_table", self)

    def report(self, path: str | Path) -> Path:
        """Write it all into one HTML file to hand on, which needs no network and holds no script; returns its path.

        Tables, pictures, where strategies and judges disagree, each answer, prices, versions, and what it does not
        show. A file that is there is replaced. Raises OSError if it cannot be written.
        """
        return view("moa_helpers.evaluation.report", "report", self, path)  # type: ignore[no-any-return]

    def to_inspect(self, path: str | Path) -> Path:
        """Write it as a log of inspect_ai's, for ``inspect view``: one sample for each answer; returns its path.

        ``path`` ends in ``.eval``, which its viewer finds by any name, or in ``.json``. A file that is there is
        replaced. Raises ValueError for another ending, and OSError if it cannot be written.
        """
        return view("moa_helpers.evaluation.inspecting", "to_inspect", self, path)  # type: ignore[no-any-return]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the judgements or the scores doubtful."""
        return view(self._views, "warnings", self)  # type: ignore[no-any-return]

    def _checked(self, labels: Mapping[str, float]) -> Mapping[str, float]:
        asked = {each.question for each in self.answers}
        for name, label in labels.items():
            if name not in asked or label not in (0, 0.5, 1):
                raise ValueError(f"The label {label!r} of {name!r}: give 1, 0.5 or 0 by the id of a question.")
        return labels

    def _check(self, strategy: str, *controls: str) -> None:
        known = [*self.strategies, *controls]
        if strategy not in known:
            raise ValueError(f"{strategy!r} is no strategy of this comparison; it has {', '.join(known)}.")


def by_question(comparison: Comparison) -> Iterator[tuple[Question, list[Answered], list[Judged], dict[str, Scored]]]:
    """Each question that has answers, in the order asked, with them, its judgements, and its scores by strategy."""
    known = {question.id: question for question in comparison.questions}
    found = defaultdict[str, tuple[list[Answered], list[Judged], dict[str, Scored]]](lambda: ([], [], {}))
    for answer in comparison.answers:
        found[answer.question][0].append(answer)
    for judgement in comparison.judgements:
        found[judgement.question][1].append(judgement)
    for score in comparison.scored:
        found[score.question][2][score.strategy] = score
    yield from ((known.get(name) or Question(name, name), *each) for name, each in found.items() if each[0])
