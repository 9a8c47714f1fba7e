"""Mixture of Agents, as a lesson: ask several models at once and have one write a single answer out of theirs."""

from moa_helpers.aggregation import (
    AggregatorDelta,
    Answer,
    Hedging,
    MixtureDone,
    ProposerDelta,
    ProposerDone,
    Retrying,
    aggregator_system,
    estimate,
    mixture_of_agents,
    stream_mixture,
)
from moa_helpers.budget import Estimate
from moa_helpers.calls import Attempt, Reply, Retry, ask
from moa_helpers.catalogue import UnknownModel, find, models
from moa_helpers.failures import Failure
from moa_helpers.fanout import Replies, fan_out
from moa_helpers.hedging import Hedge
from moa_helpers.panel import playground, watch
from moa_helpers.records import from_json, to_json
from moa_helpers.running import run
from moa_helpers.settings import MissingKey, Settings, connection, setup
from moa_helpers.vendors import close

__all__ = [
    "AggregatorDelta",
    "Answer",
    "Attempt",
    "Estimate",
    "Failure",
    "Hedge",
    "Hedging",
    "MissingKey",
    "MixtureDone",
    "ProposerDelta",
    "ProposerDone",
    "Replies",
    "Reply",
    "Retry",
    "Retrying",
    "Settings",
    "UnknownModel",
    "aggregator_system",
    "ask",
    "close",
    "connection",
    "estimate",
    "fan_out",
    "find",
    "from_json",
    "mixture_of_agents",
    "models",
    "playground",
    "run",
    "setup",
    "stream_mixture",
    "to_json",
    "watch",
]
