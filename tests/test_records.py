"""Results as JSON and back: nothing is lost on the way."""

import json

import pytest

import moa_helpers as moa
from moa_helpers import offline


@pytest.mark.parametrize(
    ("where", "kind", "outcome"),
    [
        ("groq", 503, "complete"),
        ("mistral", 503, "partial"),
        ("openai", "length", "complete"),
        ("*", "truncated_stream", "all_failed"),
    ],
)
def test_a_mixture_comes_back_whole(where, kind, outcome, models, question, run):
    with offline.fault(where, kind):
        answer = run(moa.mixture_of_agents(question, models, models[0], layers=3, retries=1))
    assert answer.outcome == outcome
    text = moa.to_json(answer)
    assert "\n" not in text
    again = moa.from_json(text)
    assert again == answer
    assert type(again.layers[0]) is moa.Replies
    assert (again.heading, str(again), again.cost_usd) == (answer.heading, str(answer), answer.cost_usd)
    assert again.table().equals(answer.table())
    assert again.critical_path == answer.critical_path


def test_what_was_left_out_comes_back(models, question, run):
    six = [*models, "openai:gpt-6-sol", "anthropic:claude-sonnet-5-5", "mistral:mistral-large-2512"]
    with offline.fault("mistral", "liar"):
        answer = run(moa.mixture_of_agents(question, six, models[0], robust=True))
    assert answer.left_out
    assert moa.from_json(moa.to_json(answer)).table().equals(answer.table())


def test_hedged_replies_and_single_ones_come_back(models, question, run):
    replies = run(moa.fan_out([*models, models[0]], question, hedge_after=0.02, hedge_with=models[0]))
    assert any(reply.hedged for reply in replies)
    assert moa.from_json(moa.to_json(replies)) == replies
    for reply in replies:
        assert moa.from_json(moa.to_json(reply)) == reply


def test_any_text_comes_back():
    reply = moa.Reply("openai:x", 'a "quoted"\nline, \u2028, \x00 and \U0001f600, not-a-number')
    assert moa.from_json(moa.to_json(reply)) == reply


@pytest.mark.parametrize("wrong", ["", "{", "[]", "{}", '{"Reply": {}}', '{"Other": {}}', '{"Answer": 3}', "null"])
def test_other_text_is_refused(wrong):
    with pytest.raises(ValueError, match="no result that to_json wrote"):
        moa.from_json(wrong)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="not dict"):
        moa.to_json({})
    assert json.loads(moa.to_json(moa.Replies())) == {"Replies": []}
