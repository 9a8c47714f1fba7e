"""What a comparison of strategies found: which one wins, its price, and whether the judge can be trusted."""

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
    """A strategy's answer to a question. ``points_…`` are known only for offline answers to prepared questions."""

    question: str
    strategy: str
    outcome: str  # an ``Answer.outcome``; for a single model "ok", or the kind of failure
    text: str  # empty if it failed
    calls: int
    cost_usd: float | None
    seconds: float  # the slowest call of each stage, added up, without the wait for a free place
    characters: int
    offline: bool
    points_right: int | None = None
    points_wrong: int | None = None
    points_possible: int | None = None


@dataclass(frozen=True)
class Judged:
    """A judge's verdict on a strategy's answer (``one``) and the baseline's (``other``).

    ``places`` as in ``Verdict``; None if it was not asked, as the texts are the same, or one is missing.
    """

    question: str
    strategy: str
    judge: str
    places: tuple[int | None, int | None] | None
    score: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class Scored:
    """The score of a strategy's answer: 1 right, 0 wrong; None if it found nothing to read, or failed.

    ``read`` is the part of the answer that was scored, ``problem`` the error that the score raised.
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

    ``planned`` is the number of ``questions``. ``problem`` says why not all were asked. ``path`` is the file that keeps
    the calls. ``given`` has each strategy as ``compare`` got it.
    """

    strategies: tuple[str, ...]
    judges: tuple[str, ...]
    planned: int
    answers: tuple[Answered, ...]
    judgements: tuple[Judged, ...]
    path: Path
    problem: str = ""
    scored: tuple[Scored, ...] = ()
    shared_usd: float = 0.0  # counted by several strategies, paid once
    questions: tuple[Question, ...] = field(default=(), repr=False)
    given: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    _views = "moa_helpers.evaluation.views"

    @property
    def baseline(self) -> str:
        """The strategy against which the others are judged."""
        return self.strategies[0]

    @property
    def cost_usd(self) -> float | None:
        """US dollars for these answers and judgements, in whichever start they were paid; None if any is unknown.

        Calls that failed in an earlier start, or were cut off by its end, are not counted.
        """
        each = [*(each.cost_usd for each in self.answers), *(each.cost_usd for each in self.judgements)]
        return total([*each, -self.shared_usd])

    def scores(self, strategy: str, judge: str | None = None) -> dict[str, float]:
        """Question -> 1 where the strategy beats the baseline, 0 where it loses, 0.5 for a tie; the mean of the judges.

        An answer that failed loses; two that failed tie. Questions without a judgement are left out. ``judge`` is one
        of the judges; default: all. Raises ValueError if there is no such strategy or judge.
        """
        self._check(strategy, NULL)
        if judge is not None and judge not in self.judges:
            raise ValueError(f"{judge!r} is no judge of this comparison, which has {', '.join(self.judges) or 'none'}.")
        found: dict[str, list[float]] = {}
        for each in self.judgements:
            if each.strategy == strategy and judge in (None, each.judge) and each.score is not None:
                found.setdefault(each.question, []).append(each.score)
        return {question: math.fsum(values) / len(values) for question, values in found.items()}

    def values(self, strategy: str, what: str) -> list[float]:
        """One number a question, in the order of the questions; NaN is unknown.

        ``what`` is a numeric field of ``Answered``, ``"points_share"`` or ``"score"``. The first of these two is the
        share of the possible points that are right. A score is 0 if it read nothing, and NaN if it failed. Raises
        ValueError if there is no such strategy.
        """
        self._check(strategy)
        if what == "score":
            return [math.nan if one.problem else one.value or 0.0 for one in self.scored if one.strategy == strategy]
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
        """One row a strategy. NaN is unknown.

        ``questions`` and ``failed`` are numbers of questions. Means over all questions: ``calls``, ``cost_usd``,
        ``seconds``, ``characters``. With 95 % intervals in ``…_low`` and ``…_high``: ``points_share``,
        ``points_wrong``, and the shares ``win_rate`` and ``win_rate_at_equal_length`` against the first row. With a
        score there are more. In ``score`` an unread answer is wrong; ``unparsed`` is the number of these. ``unscored``
        is how often the score failed. ``score_difference`` is paired, to the first row, and has its ``mcnemar_p``.
        """
        return view(self._views, "table", self)

    def scores_table(self) -> "pd.DataFrame":
        """One row a question and strategy: what the score ``read`` in the ``text``, and the ``score``."""
        return view(self._views, "scores_table", self)

    def agreement(self, strategy: str, labels: Mapping[str, float] | None = None) -> "pd.DataFrame":
        """How far the judges, the score and you agree on whether a strategy's answers beat the baseline's.

        One row a pair of raters: the ``questions`` that both rated, how often they said the ``same``, Cohen's ``kappa``
        with its interval, and Krippendorff's ``alpha``. The last row has the ``alpha`` of all raters. A judge rates the
        pairs that it was asked about; the score rates those where it read both answers.

        Args:
            strategy: not the baseline.
            labels: your own verdicts by the question's id: 1 it is better, 0 worse, 0.5 neither.

        Raises:
            ValueError: there is no such strategy or question, or a label has another value.
        """
        self._check(strategy)
        return view(self._views, "agreement", self, strategy, self._checked(labels or {}))

    def corrected_win_rate(self, strategy: str, labels: Mapping[str, float]) -> Interval:
        """The judges' win rate, corrected by your own labels of questions drawn at random (``measures.corrected``).

        Arguments and errors are those of ``agreement``. At least two labels are needed.
        """
        scores = self.scores(strategy)
        both = [(scores[name], label) for name, label in self._checked(labels).items() if name in scores]
        return measures.corrected([value for name, value in scores.items() if name not in labels], both)

    def judges_table(self) -> "pd.DataFrame":
        """One row a judge: what sways it, and a ``verdict``.

        ``pairs`` were judged in both orders, without null answers. ``unread`` pairs lack a judgement; they are paid and
        not asked again. ``consistent``: among the pairs where it chose one answer twice or one place twice, the share
        of the former. ``position_bias`` is in logits, with ``…_low`` and ``…_high`` (``measures.position_bias``).
        ``null_lost`` is the share of the null answers that lost.
        """
        return view(self._views, "judges_table", self)

    def report(self, path: str | Path) -> Path:
        """Write it all into one HTML file to hand on, without a script and for use offline. Returns its path.

        It has tables, pictures, disagreements, each answer, prices, versions, and what is not shown. An older file is
        replaced. Raises OSError if it cannot be written.
        """
        return view("moa_helpers.evaluation.report", "report", self, path)  # type: ignore[no-any-return]

    def to_inspect(self, path: str | Path) -> Path:
        """Write it as a log for inspect_ai's ``inspect view``, with a sample for each answer. Returns its path.

        ``path`` ends in ``.eval``, or in ``.json``. An older file is replaced. Raises ValueError for another ending,
        and OSError if it cannot be written.
        """
        return view("moa_helpers.evaluation.inspecting", "to_inspect", self, path)  # type: ignore[no-any-return]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the judgements or the scores."""
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
            raise ValueError(f"{strategy!r} is no strategy of this comparison, which has {', '.join(known)}.")


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
