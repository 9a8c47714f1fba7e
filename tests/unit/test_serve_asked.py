"""What a client asks, however odd; and the status of an answer that did not come."""

import json
import random
from copy import deepcopy

import pytest

import moa_helpers as moa
from moa_helpers.offline.asked import Refused
from moa_helpers.serve.answers import NoAnswer, content, facts, headers
from moa_helpers.serve.asked import read
from tests.support.scripts import LUNA, SMALL, SOL, answers, fails, hangs

PANEL = {"reference_models": [LUNA, SMALL], "aggregator": SOL}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
    {"role": "assistant", "content": "Yes?", "tool_calls": None},
    {"role": "user", "content": "Why is the sky blue?"},
]
WELL = {
    "openai": {
        "model": "a",
        "messages": TURNS,
        "tools": [],
        "max_tokens": 9,
        "stream_options": {"include_usage": True},
    },
    "anthropic": {"model": "a", "messages": TURNS[1:], "system": [{"type": "text", "text": "x"}], "max_tokens": 9},
    "responses": {"model": "a", "input": TURNS, "instructions": "x", "text": {"format": {"type": "text"}}},
}
ODD = [None, 0, -1, 10**400, 1e308, True, "", "x", "\0", [], {}, [[]], [None], {"type": []}, {"role": {}}, ["user"]]


def places(value):
    """Every mapping and list inside, with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@pytest.mark.parametrize("form", WELL)
def test_no_body_is_an_error_of_ours(form):
    """One or two parts of a good request are replaced by something odd: it is read, or refused."""
    drawn, refused = random.Random(5), []
    for _ in range(600):
        body = deepcopy(WELL[form])
        for _ in range(drawn.randint(1, 2)):
            inside, key = drawn.choice([*places(body)])
            inside[key] = deepcopy(drawn.choice(ODD))
        try:
            read(json.dumps(body).encode(), {}, form).planned(PANEL)
        except Refused as error:
            refused.append(error)
    assert {error.status for error in refused} == {400}
    assert all(error.message for error in refused)
    assert 300 < len(refused) < 600


def test_what_is_read():
    asked = read(json.dumps(WELL["openai"] | {"seed": 1, "x" * 99: 1}).encode(), {}, "openai")
    assert [turn["role"] for turn in asked.messages] == ["system", "user", "assistant", "user"]
    assert (asked.limit, asked.stream, asked.with_usage) == (9, False, True)
    assert asked.ignored == ("seed", "x" * 40)
    plan = asked.planned(PANEL | {"max_tokens": 50})
    assert {one.max_tokens for one in plan.stages[0]} == {50}
    assert {one.max_tokens for one in plan.final} == {9}
    assert {one.max_tokens for one in asked.planned(PANEL | {"max_tokens": 5}).final} == {5}, "it raises no limit"
    assert {one.max_tokens for one in asked.planned(PANEL | {"pick": True}).final} == {2048}, "a ranker needs its own"


@pytest.mark.parametrize(
    ("acts", "status", "retry_after"),
    [
        ([hangs(), hangs()], 504, None),
        ([fails(429), hangs()], 502, None),
        ([fails(429, retry_after=3), fails(429, retry_after=8.2)], 429, "9"),
        ([fails(429), fails(429)], 429, "1"),
        ([fails(401), fails(401)], 502, None),
    ],
)
def test_the_status_of_an_aggregator_that_fails(acts, status, retry_after, script, run, question):
    """And of two that are tried in turn: what both failed with counts."""
    script[SOL], script[SMALL] = acts[0], [answers("Yes."), acts[1]]
    options = PANEL | {"aggregator": [SOL, SMALL], "deadline": 90.0, "timeout": 30.0, "retries": 0}
    answer = run(moa.mixture_of_agents(question, **options))
    error = NoAnswer(answer, facts(answer, ["seed"]))
    assert (error.status, error.headers.get("retry-after")) == (status, retry_after)
    assert error.moa["ignored"] == ["seed"]
    assert error.moa["outcome"] == error.headers["x-moa-outcome"] == "aggregator_failed"
    assert "aggregator" in error.message
    told = headers(error.moa | {"heading": f"written\nby Ünï {'x' * 9000}"})
    assert told["x-moa-heading"].startswith("written by ?n? xxx")
    assert max(map(len, told.values())) == 1000


def test_a_header_takes_any_model_s_name(run, question):
    answer = run(moa.mixture_of_agents(question, ["ollama:a\0b\x7f", "ollama:é\nx"], SOL))
    assert headers(facts(answer, ()))["x-moa-members"] == f"ollama:a?b?, ollama:? x, {SOL}"


def test_tokens_are_those_of_all_requests(script, run, question):
    """Of both, where a call was hedged; what is unknown counts as none."""
    script[LUNA] = [answers(after=9.0), answers("Blue.", after=1.0)]
    options = PANEL | {"reference_models": [LUNA], "hedge_after": 2.0}
    told = content(run(moa.mixture_of_agents(question, **options)))
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (200, 40, 240)
    assert told["finish"] == "stop"
