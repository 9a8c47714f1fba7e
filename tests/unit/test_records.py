"""Results as JSON and back: nothing is lost on the way."""

import json

import pytest

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL, answers, breaks_off, fails

THREE = [LUNA, HAIKU, SMALL]
# the outcome of a mixture -> what each model does
OUTCOMES = {
    "complete": {},
    "partial": {SMALL: fails(503)},
    "aggregator_failed": {LUNA: [answers(), answers(), fails(401)]},
    "all_failed": {model: breaks_off() for model in THREE},
}


def test_a_mixture_comes_back_whole(script, run, question):
    for outcome, acts in OUTCOMES.items():
        script.acts.clear()
        for model, act in acts.items():
            script[model] = act
        answer = run(moa.mixture_of_agents(question, THREE, LUNA, layers=3, retries=1))
        assert answer.outcome == outcome
        text = moa.to_json(answer)
        assert "\n" not in text
        again = moa.from_json(text)
        assert again == answer
        assert type(again.layers[0]) is moa.Replies
        assert (again.heading, str(again), again.cost_usd) == (answer.heading, str(answer), answer.cost_usd)
        assert again.table().equals(answer.table())
        assert again.critical_path == answer.critical_path


def test_an_answer_cut_off_comes_back(script, run, question):
    script[LUNA] = answers("Cut", finish="length")
    answer = run(moa.mixture_of_agents(question, THREE, LUNA))
    assert answer.aggregator.truncated
    assert moa.from_json(moa.to_json(answer)) == answer


def test_what_was_left_out_and_what_was_picked_come_back(script, run, question):
    truth = "The sky is blue because air scatters short wavelengths far more strongly than long ones."
    lie = "A giant turtle paints everything overhead each morning using cobalt buckets and brooms."
    for model in (LUNA, HAIKU):
        script[model] = answers(truth)
    script[SMALL] = answers(lie)
    answer = run(moa.mixture_of_agents(question, THREE, LUNA, robust=True))
    assert [reply.model for reply in answer.left_out] == [SMALL]
    again = moa.from_json(moa.to_json(answer))
    assert again == answer
    assert again.table().equals(answer.table())
    script[LUNA] = [answers(truth), answers("2")]
    picked = run(moa.mixture_of_agents(question, THREE, LUNA, pick=True))
    assert picked.picked
    assert moa.from_json(moa.to_json(picked)) == picked


def test_hedged_replies_and_single_ones_come_back(script, run, question):
    script[LUNA] = answers("Slow.", after=9)
    script[SMALL] = fails(400)
    replies = run(moa.fan_out([*THREE, LUNA], question, hedge_after=2, hedge_with=HAIKU))
    assert any(reply.hedged for reply in replies)
    assert moa.from_json(moa.to_json(replies)) == replies
    for reply in replies:
        assert moa.from_json(moa.to_json(reply)) == reply


def test_any_text_comes_back():
    reply = moa.Reply("openai:x", 'a "quoted"\nline, \u2028, \x00 and \U0001f600, not-a-number')
    assert moa.from_json(moa.to_json(reply)) == reply


def test_other_text_and_other_things_are_refused():
    for wrong in ("", "{", "[]", "{}", '{"Reply": {}}', '{"Other": {}}', '{"Answer": 3}', "null"):
        with pytest.raises(ValueError, match="no result that to_json wrote"):
            moa.from_json(wrong)
    with pytest.raises(TypeError, match="not dict"):
        moa.to_json({})
    assert json.loads(moa.to_json(moa.Replies())) == {"Replies": []}
