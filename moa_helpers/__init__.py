"""Mixture of Agents, as a lesson: ask several models at once and have one write a single answer out of theirs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from moa_helpers.calls import ask
from moa_helpers.catalogue import UnknownModel, find, models
from moa_helpers.catalogue.hosts import add_host
from moa_helpers.estimating import estimate
from moa_helpers.events import (
    AggregatorDelta,
    Hedge,
    Hedging,
    MixtureDone,
    ProposerDelta,
    ProposerDone,
    Retry,
    Retrying,
)
from moa_helpers.fanout import fan_out
from moa_helpers.limits.members import Member
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.rates import Rate
from moa_helpers.mixture import mixture_of_agents, stream_mixture
from moa_helpers.prompts import aggregator_system
from moa_helpers.results import Answer, Attempt, Failure, Replies, Reply
from moa_helpers.running import run
from moa_helpers.shown import lesson
from moa_helpers.steps.ranking import ranker_system
from moa_helpers.store.keeping import keep
from moa_helpers.store.records import from_json, to_json
from moa_helpers.vendors.settings import MissingKey, Settings, connection, setup
from moa_helpers.vendors.streams import close

if TYPE_CHECKING:
    from moa_helpers import offline as offline
    from moa_helpers.bulk.answering import answer_all
    from moa_helpers.bulk.jobs import jobs
    from moa_helpers.bulk.questions import Question, read_questions
    from moa_helpers.bulk.rows import AnswerSet, Row
    from moa_helpers.evaluation import charts as charts
    from moa_helpers.evaluation import measures as measures
    from moa_helpers.evaluation import scores as scores
    from moa_helpers.evaluation.compare import compare, estimate_comparison
    from moa_helpers.evaluation.comparison import Answered, Comparison, Judged
    from moa_helpers.evaluation.judging import Verdict, judge
    from moa_helpers.evaluation.worth import Worth, worth_it
    from moa_helpers.serve.running import serve
    from moa_helpers.ui import figures as figures
    from moa_helpers.ui.panel import watch
    from moa_helpers.ui.playground import playground

# What a lesson needs and a service does not: loaded on first use, as it brings pandas, matplotlib or ipywidgets.
_LATER = {
    "bulk.answering": ("answer_all",),
    "bulk.jobs": ("jobs",),
    "bulk.questions": ("Question", "read_questions"),
    "bulk.rows": ("AnswerSet", "Row"),
    "evaluation.compare": ("compare", "estimate_comparison"),
    "evaluation.comparison": ("Answered", "Comparison", "Judged"),
    "evaluation.judging": ("Verdict", "judge"),
    "evaluation.worth": ("Worth", "worth_it"),
    "ui.panel": ("watch",),
    "ui.playground": ("playground",),
}
_MODULES = {
    "charts": "evaluation.charts",
    "figures": "ui.figures",
    "measures": "evaluation.measures",
    "offline": "offline",
    "scores": "evaluation.scores",
    "serve": "serve",  # which may be called
}


if not TYPE_CHECKING:  # else a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        place = _MODULES.get(name) or next((place for place, names in _LATER.items() if name in names), None)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with lesson():
            module = import_module(f"moa_helpers.{place}")
        return module if name in _MODULES else getattr(module, name)


__all__ = [
    "AggregatorDelta",
    "Answer",
    "AnswerSet",
    "Answered",
    "Attempt",
    "Comparison",
    "Estimate",
    "Failure",
    "Hedge",
    "Hedging",
    "Judged",
    "Member",
    "MissingKey",
    "MixtureDone",
    "ProposerDelta",
    "ProposerDone",
    "Question",
    "Rate",
    "Replies",
    "Reply",
    "Retry",
    "Retrying",
    "Row",
    "Settings",
    "UnknownModel",
    "Verdict",
    "Worth",
    "add_host",
    "aggregator_system",
    "answer_all",
    "ask",
    "close",
    "compare",
    "connection",
    "estimate",
    "estimate_comparison",
    "fan_out",
    "find",
    "from_json",
    "jobs",
    "judge",
    "keep",
    "mixture_of_agents",
    "models",
    "playground",
    "ranker_system",
    "read_questions",
    "run",
    "serve",
    "setup",
    "stream_mixture",
    "to_json",
    "watch",
    "worth_it",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
