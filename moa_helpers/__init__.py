"""Mixture of Agents, as a lesson: ask several models at once and have one write a single answer out of theirs."""

from importlib import import_module
from typing import Any

from moa_helpers.answers import AggregatorDelta, Answer, Hedging, MixtureDone, ProposerDelta, ProposerDone, Retrying
from moa_helpers.calls import ask
from moa_helpers.catalogue import UnknownModel, find, models
from moa_helpers.evaluation.compare import compare, estimate_comparison
from moa_helpers.evaluation.comparison import Answered, Comparison, Judged
from moa_helpers.evaluation.judging import Verdict, judge
from moa_helpers.evaluation.questions import Question, read_questions
from moa_helpers.fanout import fan_out
from moa_helpers.limits.purse import Estimate
from moa_helpers.mixture import estimate, mixture_of_agents, stream_mixture
from moa_helpers.prompts import aggregator_system, ranker_system
from moa_helpers.results import Attempt, Hedge, Replies, Reply, Retry
from moa_helpers.running import run
from moa_helpers.store.records import from_json, to_json
from moa_helpers.vendors.errors import Failure
from moa_helpers.vendors.settings import MissingKey, Settings, connection, setup
from moa_helpers.vendors.streams import close

_MODULES = {  # needed by a lesson, not by a service: they load what they need on first use
    "charts": "moa_helpers.evaluation.charts",
    "figures": "moa_helpers.ui.figures",
    "measures": "moa_helpers.evaluation.measures",
}


_NAMES = {"playground": "moa_helpers.ui.playground", "watch": "moa_helpers.ui.panel"}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AggregatorDelta",
    "Answer",
    "Answered",
    "Attempt",
    "Comparison",
    "Estimate",
    "Failure",
    "Hedge",
    "Hedging",
    "Judged",
    "MissingKey",
    "MixtureDone",
    "ProposerDelta",
    "ProposerDone",
    "Question",
    "Replies",
    "Reply",
    "Retry",
    "Retrying",
    "Settings",
    "UnknownModel",
    "Verdict",
    "aggregator_system",
    "ask",
    "close",
    "compare",
    "connection",
    "estimate",
    "estimate_comparison",
    "fan_out",
    "find",
    "from_json",
    "judge",
    "mixture_of_agents",
    "models",
    "playground",
    "ranker_system",
    "read_questions",
    "run",
    "setup",
    "stream_mixture",
    "to_json",
    "watch",
]
