"""Mixture of Agents, as a lesson: ask several models at once and have one write a single answer out of theirs."""

from moa_helpers.aggregation import estimate, mixture_of_agents, stream_mixture
from moa_helpers.answers import AggregatorDelta, Answer, Hedging, MixtureDone, ProposerDelta, ProposerDone, Retrying
from moa_helpers.budget import Estimate
from moa_helpers.calls import ask
from moa_helpers.catalogue import UnknownModel, find, models
from moa_helpers.comparison import Answered, Comparison, Judged
from moa_helpers.failures import Failure
from moa_helpers.fanout import fan_out
from moa_helpers.judging import Verdict, judge
from moa_helpers.panel import playground, watch
from moa_helpers.prompts import aggregator_system, ranker_system
from moa_helpers.questions import Question, read_questions
from moa_helpers.records import from_json, to_json
from moa_helpers.replies import Attempt, Hedge, Replies, Reply, Retry
from moa_helpers.running import run
from moa_helpers.settings import MissingKey, Settings, connection, setup
from moa_helpers.strategies import compare, estimate_comparison
from moa_helpers.vendors import close

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
