"""Many at once: the order of replies, samples of one model, and places, by vendor and in all."""

import itertools

import pytest

import moa_helpers as moa
from tests.support import scripts
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL, answers, fails, hangs


@pytest.mark.parametrize("order", list(itertools.permutations((LUNA, HAIKU, SMALL))))
def test_replies_come_in_the_order_asked_whoever_is_first(order, script, run, question):
    script[LUNA], script[HAIKU], script[SMALL] = answers(after=3), answers(after=1), [fails(429, retry_after=2)] * 2
    replies = run(moa.fan_out(list(order), question, retries=1))
    assert [reply.model for reply in replies] == list(order)
    assert {reply.model: reply.ok for reply in replies} == {LUNA: True, HAIKU: True, SMALL: False}
    assert [reply.answered_by for reply in replies if reply.ok] == [m.partition(":")[2] for m in order if m != SMALL]
    assert isinstance(replies, moa.Replies)
    assert replies.good == tuple(reply for reply in replies if reply.ok)


def test_calls_really_run_at_once(script, run, question):
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL] * 3, question))
    assert script.times() == [0] * 9
    assert script.most["all"] == 9
    assert [reply.elapsed for reply in replies] == pytest.approx([1.2] * 9)
    assert replies.cost_usd == pytest.approx(sum(moa.find(reply.model).cost(100, 20) for reply in replies))


def test_what_is_asked_is_what_was_given(script, run, question):
    run(moa.fan_out([SMALL, SMALL], question, system="Be brief.", max_tokens=77, temperature=0.5))
    for sample, asked in enumerate(script.asked):
        request = asked.request
        assert (request.model.name, request.prompt, request.system) == (SMALL, question, "Be brief.")
        assert (request.max_tokens, request.temperature, request.sample, request.offline) == (77, 0.5, sample, True)


def test_samples_of_the_same_model_are_numbered_among_themselves(script, run, question):
    run(moa.fan_out([HAIKU, LUNA, SMALL, LUNA, HAIKU, LUNA], question))
    assert [asked.request.sample for asked in script.asked] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("most", [1, 2, 5, 6, 9])
def test_the_limit_on_concurrency_is_held_and_used(most, script, run, question):
    script.default = answers("Yes.", after=2)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL] * 2, question, max_concurrency=most))
    assert len(replies.good) == 6
    assert script.most["all"] == min(most, 6)
    assert script.times() == pytest.approx([number // most * 2 for number in range(6)]), "a place that is free is taken"
    assert [reply.started - replies[0].started for reply in replies] == pytest.approx(script.times())


def test_each_vendor_has_its_own_places(script, run, question):
    places = {"mistral": 1, "openai": 3, "all": 6}
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL] * 4, question, max_concurrency=places))
    assert len(replies.good) == 12
    assert (script.most["mistral"], script.most["openai"], script.most["all"]) == (1, 3, 6)


def test_who_waits_for_a_vendor_keeps_no_place_of_all(script, run, question):
    script[SMALL] = answers("Slow.", after=10)
    run(moa.fan_out([SMALL, SMALL, LUNA, HAIKU], question, max_concurrency={"mistral": 1, "all": 2}))
    assert script.times(SMALL) == pytest.approx([0, 10])
    assert script.times(LUNA) == [0]
    assert script.times(HAIKU) == pytest.approx([1.2])


def test_a_vendor_that_is_not_named_is_not_limited(script, run, question):
    run(moa.fan_out([SMALL] * 3 + [OSS] * 3, question, max_concurrency={"mistral": 1}))
    assert (script.most["mistral"], script.most["groq"]) == (1, 3)


def test_a_place_is_free_again_after_every_kind_of_end(script, run, question):
    script[LUNA] = [fails(401, after=1), hangs(), answers("", after=1), answers("Good.", after=1)]
    replies = run(moa.fan_out([LUNA] * 4, question, max_concurrency=1, timeout=3, retries=0))
    assert script.times() == pytest.approx([0, 1, 4, 5])
    assert [reply.ok for reply in replies] == [False, False, False, True]


def test_second_requests_take_places_too(script, run, question):
    script[LUNA] = [hangs(), hangs(), answers(after=1)]
    replies = run(moa.fan_out([LUNA] * 4, question, hedge_after=0.25, max_concurrency=3, timeout=30))
    assert len(replies.good) == 4
    assert script.most["all"] == 3


def test_places_are_for_each_layer(script, run, question):
    answer = run(
        moa.mixture_of_agents(question, [LUNA, LUNA, HAIKU], SOL, layers=3, max_concurrency={"openai": 1, "all": 2})
    )
    assert answer.outcome == "complete"
    assert (script.most["openai"], script.most["all"]) == (1, 2)
    assert script.times() == pytest.approx([0, 0, 1.2, 2.4, 2.4, 3.6, 4.8])


def test_setup_in_the_middle_of_a_mixture_redirects_nothing(script, run, question, monkeypatch):
    """A request is bound to its client before the first call."""

    def new_keys(request):
        monkeypatch.setattr(scripts.CLIENT, lambda model: "another client")
        return "The answer."

    monkeypatch.setattr(scripts.CLIENT, lambda model: f"client for {model.vendor.name}")
    script[LUNA] = [answers(new_keys), fails(503, retry_after=1), answers()]
    script[HAIKU] = [hangs(), answers()]
    answer = run(moa.mixture_of_agents(question, [LUNA, HAIKU], SOL, layers=3, hedge_after=2.5))
    assert answer.outcome == "complete"
    assert script.counts() == {LUNA: 3, HAIKU: 3, SOL: 1}, "a retry, a second request, a second layer"
    assert {asked.request.sdk for asked in script.asked} == {"client for openai", "client for anthropic"}
