"""What is risked: estimates before a call, max_calls and budget_usd while they run, and what is free again."""

import math

import pytest

import moa_helpers as moa
from moa_helpers.catalogue import listed
from tests.support import scripts
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL, answers, breaks_off, fails, hangs

THREE = [LUNA, HAIKU, SMALL]
NONE_LEFT = "Not tried again: max_calls or budget_usd leaves no call."


# Before the first call


def test_a_plan_above_its_limit_is_refused_before_any_call(script, run, question):
    with pytest.raises(ValueError, match="5 calls are planned, but max_calls is 4"):
        run(moa.mixture_of_agents(question, THREE[:2], SOL, layers=3, max_calls=4))
    with pytest.raises(ValueError, match="3 calls are planned, but max_calls is 2"):
        run(moa.fan_out(THREE, question, max_calls=2))
    plan = moa.estimate(question, THREE, SOL, layers=3)
    with pytest.raises(ValueError, match=rf"7 calls of up to 2048 tokens may cost \${plan.most_usd:.6f}"):
        run(moa.mixture_of_agents(question, THREE, SOL, layers=3, budget_usd=plan.most_usd * 0.999))
    with pytest.raises(ValueError, match="no price is known for ollama:some"):
        run(moa.fan_out(["ollama:some"], question, budget_usd=1))
    with pytest.raises(ValueError, match="no price is known for ollama:some"):
        run(moa.fan_out(THREE, question, budget_usd=1, hedge_after=1, hedge_with="ollama:some"))
    assert not script.asked


BY_LAYER = {"layers": [[LUNA, SMALL, LUNA], [SOL]], "aggregator": HAIKU}


@pytest.mark.parametrize("options", [BY_LAYER, {"reference_models": THREE, "aggregator": SOL, "layers": 3}])
def test_a_plan_just_within_its_limits_runs(options, script, run, question):
    plan = moa.estimate(question, **options)
    for limits in ({"max_calls": plan.calls}, {"budget_usd": plan.most_usd}):
        answer = run(moa.mixture_of_agents(question, **options, **limits))
        assert (answer.outcome, len(script.asked)) == ("complete", plan.calls)
        assert answer.cost_usd == answer.least_usd <= plan.most_usd
    for limits in ({"max_calls": plan.calls - 1}, {"budget_usd": plan.most_usd * 0.99}):
        with pytest.raises(ValueError, match=f"{plan.calls} calls"):
            run(moa.mixture_of_agents(question, **options, **limits))
        assert not script.asked


def test_an_estimate_is_the_catalogue_s_arithmetic(question):
    """Four characters a token; the most: three bytes a token, and ten tokens around."""
    plan = moa.estimate(question, [LUNA, SMALL], answer_tokens=100, max_tokens=1000, system="Be brief.")
    characters = len("Be brief." + question)
    price = moa.find(LUNA).cost, moa.find(SMALL).cost
    assert plan.usd == pytest.approx(sum(cost(-(-characters // 4), 100) for cost in price))
    assert plan.most_usd == pytest.approx(sum(cost(-(-characters // 3) + 10, 1000) for cost in price))
    assert (plan.calls, plan.answer_tokens, plan.max_tokens, plan.unpriced) == (2, 100, 1000, ())
    assert moa.estimate(question, [LUNA], answer_tokens=400, max_tokens=50).answer_tokens == 50


def test_later_stages_read_what_the_stage_before_wrote(question):
    plan = moa.estimate(question, **BY_LAYER)
    assert [calls for calls, _ in plan.stages] == [3, 1, 1]
    assert plan.most_usd == pytest.approx(sum(usd for _, usd in plan.stages))
    wider = moa.estimate(question, **{**BY_LAYER, "layers": [BY_LAYER["layers"][0] * 2, [SOL]]})
    assert [calls for calls, _ in wider.stages] == [6, 1, 1]
    more = wider.stages[1][1] - plan.stages[1][1]
    assert more > moa.find(SOL).cost(3 * 2048, 0), "three more answers of 2048 tokens to read"
    assert moa.estimate(question, [LUNA] * 2, SOL, layers=3) == moa.estimate(
        question, layers=[[LUNA] * 2] * 2, aggregator=SOL
    )


def test_a_system_message_is_priced_too(script, run, question):
    system = "Answer at length, and in verse. " * 2000
    plan, short = (moa.estimate(question, THREE, system=text) for text in (system, None))
    assert plan.most_usd - short.most_usd > sum(moa.find(model).cost(len(system) // 4, 0) for model in THREE)
    with pytest.raises(ValueError, match="may cost"):
        run(moa.fan_out(THREE, question, system=system, budget_usd=(plan.most_usd + short.most_usd) / 2))
    assert not script.asked


def test_a_price_that_holds_to_a_length_is_unknown_above_it(script, run, question):
    model = next(model for model in listed().values() if model.prices_hold_to_input_tokens)
    long = question + " x" * 2 * model.prices_hold_to_input_tokens
    plan = moa.estimate(long, [model.name])
    assert plan.usd is plan.most_usd is None
    assert plan.unpriced == (f"{model.name} above {model.prices_hold_to_input_tokens:,} input tokens",)
    with pytest.raises(ValueError, match=rf"no price is known for {model.name} above"):
        run(moa.fan_out([model.name], long, budget_usd=1))
    with pytest.raises(ValueError, match=rf"no price is known for {model.name}, or not for so long a prompt"):
        run(moa.fan_out([LUNA], long, budget_usd=9, hedge_after=1, hedge_with=model.name))


def test_an_unknown_price_stays_unknown(question):
    plan = moa.estimate(question, [*THREE, "ollama:some"], SOL)
    assert (plan.calls, plan.usd, plan.most_usd, plan.unpriced) == (5, None, None, ("ollama:some",))
    assert "unknown" in str(plan)
    assert "no price known for ollama:some" in str(plan)


def test_an_estimate_needs_no_key_and_makes_no_call(script, question, monkeypatch):
    monkeypatch.setattr(scripts.CLIENT, lambda model: pytest.fail("no client is needed"))
    assert moa.estimate(question, THREE, SOL, layers=4).calls == 10
    assert not script.asked


def counted(request, text):
    """Tokens by the rule of thumb: four characters each."""
    return math.ceil(len((request.system or "") + request.prompt) / 4), math.ceil(len(text) / 4)


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_estimates_and_actuals_agree(layers, script, run, question):
    """Told how long the answers are, the estimate comes within two in a hundred of what is counted."""
    script.default = answers(lambda request: f"{request.model.id} says something. " * 20, tokens=counted, per_piece=0)
    answer = run(moa.mixture_of_agents(question, THREE, HAIKU, layers=layers))
    wrote = [reply.output_tokens for reply in answer.replies]
    plan = moa.estimate(question, THREE, HAIKU, layers=layers, answer_tokens=round(sum(wrote) / len(wrote)))
    assert plan.calls == len(answer.replies)
    assert plan.usd == pytest.approx(answer.cost_usd, rel=0.02)
    assert answer.cost_usd == answer.least_usd < plan.most_usd


# While they run


@pytest.mark.parametrize(("max_calls", "asked"), [(3, 3), (4, 4), (5, 5), (9, 6)])
def test_retries_get_what_the_plan_leaves(max_calls, asked, script, run, question):
    script.default = fails(503, retry_after=1)
    replies = run(moa.fan_out(THREE, question, max_calls=max_calls, retries=1))
    assert len(script.asked) == sum(len(reply.attempts) for reply in replies) == asked
    assert sum(NONE_LEFT in reply.failure.message for reply in replies) == 6 - asked


def test_second_requests_get_what_the_plan_leaves(script, run, question):
    script.default = hangs()
    replies = run(moa.fan_out(THREE, question, hedge_after=0.5, max_calls=4, timeout=2, retries=0))
    assert script.times() == pytest.approx([0, 0, 0, 0.5])
    assert sum(bool(reply.hedged) for reply in replies) == 1


def test_an_aggregator_is_not_starved_by_retries_before_it(script, run, question):
    script[SMALL] = fails(503, retry_after=1)
    answer = run(moa.mixture_of_agents(question, THREE, SOL, max_calls=4, retries=5))
    assert (answer.outcome, script.counts()) == ("partial", {LUNA: 1, HAIKU: 1, SMALL: 1, SOL: 1})


@pytest.mark.parametrize(("share", "attempts"), [(0.01, 1), (0.99, 1), (1.01, 2)])
def test_an_aggregator_s_dollars_are_not_spent_on_retries_before_it(share, attempts, script, run, question):
    """The first proposer fails at an unknown cost; what the plan leaves is a share of what its retry may cost."""
    script[LUNA], script[HAIKU] = [breaks_off(after=1, tokens=None), answers()], answers("Slow.", after=9)
    left = share * moa.estimate(question, [LUNA]).most_usd
    budget = moa.estimate(question, [LUNA, HAIKU], SOL).most_usd + left
    answer = run(moa.mixture_of_agents(question, [LUNA, HAIKU], SOL, budget_usd=budget))
    assert script.counts() == {LUNA: attempts, HAIKU: 1, SOL: 1}
    assert answer.outcome == ("complete" if attempts == 2 else "single")


def test_a_refusal_costs_nothing_so_the_budget_still_allows_a_retry(script, run, question):
    script[LUNA] = [fails(429, retry_after=1), fails(429, retry_after=1), answers()]
    replies = run(moa.fan_out(THREE, question, budget_usd=moa.estimate(question, THREE).most_usd))
    assert (len(replies.good), len(replies[0].attempts)) == (3, 3)


@pytest.mark.parametrize(("share", "attempts"), [(1.0, 1), (1.99, 1), (2.01, 2), (3.01, 3)])
def test_an_unknown_cost_is_taken_for_the_most_that_it_may_be(share, attempts, script, run, question):
    script[LUNA] = hangs()
    budget = moa.estimate(question, [LUNA]).most_usd * share
    (reply,) = run(moa.fan_out([LUNA], question, budget_usd=budget, timeout=2, retries=2))
    assert len(reply.attempts) == len(script.asked) == attempts
    assert (NONE_LEFT in reply.failure.message) == (attempts < 3)


@pytest.mark.parametrize(("share", "attempts"), [(1.01, 1), (1.49, 1), (1.51, 2)])
def test_what_is_set_aside_for_a_call_under_way_is_not_granted_to_another(share, attempts, script, run, question):
    """The first of two calls fails at an unknown cost, so that its retry would be the third that is paid for."""
    script[LUNA] = [breaks_off(after=1, tokens=None), answers("Slow.", after=9), answers()]
    budget = moa.estimate(question, [LUNA] * 2).most_usd * share
    first, second = run(moa.fan_out([LUNA] * 2, question, budget_usd=budget))
    assert (len(first.attempts), first.ok) == (attempts, attempts == 2)
    assert first.ok or NONE_LEFT in first.failure.message
    assert (len(second.attempts), second.ok) == (1, True)


def test_what_was_spent_is_spent(script, run, question):
    """Attempts that cost something use the budget up, though each by itself would fit; exactly what they cost."""
    script[SMALL] = answers("Half an", finish="error", tokens=(20, 100))
    most = moa.estimate(question, [SMALL], max_tokens=130).most_usd
    cost = moa.find(SMALL).cost(20, 100)
    for retries in range(4):
        budget = most + retries * cost
        for usd, asked in ((budget * 1.0001, retries + 1), (budget * 0.9999, max(retries, 1))):
            if usd >= most:
                (reply,) = run(moa.fan_out([SMALL], question, max_tokens=130, budget_usd=usd, retries=9))
                assert len(script.asked) == asked
                assert NONE_LEFT in reply.failure.message


def test_the_bill_stays_within_the_budget(script, run, question):
    """Every request counted at the most that it may cost, with second requests and retries as far as allowed."""
    extra = 0
    for share in (1.0, 1.2, 1.5, 3.0):
        for max_tokens in (40, 400):
            script[HAIKU] = [breaks_off("Half an"), breaks_off("Half an"), answers("Slow.", after=5)]
            options = {"layers": 3, "max_tokens": max_tokens}
            plan = moa.estimate(question, THREE * 2, SOL, **options)
            budget = plan.most_usd * share
            options |= {"budget_usd": budget, "hedge_after": 1.1}
            answer = run(moa.mixture_of_agents(question, THREE * 2, SOL, **options))
            most = [moa.find(asked.model).cost(100, max_tokens) for asked in script.asked]
            assert answer.least_usd <= sum(most) <= budget
            extra += len(script.asked) - plan.calls
    assert extra > 10, "nothing was retried or asked a second time, so nothing was tested"


def test_what_was_set_aside_and_not_sent_is_free_again(script, run, question):
    """Four planned calls of which a quorum needs one: the other three may be the aggregator's retries."""
    script[OSS] = fails(503, retry_after=1)
    options = {"quorum": 1, "max_concurrency": 1, "retries": 9}
    answer = run(moa.mixture_of_agents(question, [LUNA] * 4, OSS, max_calls=5, **options))
    assert (answer.outcome, script.counts()) == ("aggregator_failed", {LUNA: 1, OSS: 4})
    assert NONE_LEFT in answer.aggregator.failure.message


def test_at_no_moment_does_a_quorum_lose_what_was_set_aside(script, run, question):
    """The others are stopped in line, before or after their first word, in a pause, or with a second request out."""
    script[HAIKU] = [fails(429, after=1, retry_after=2), answers("Slow.", after=9)]
    script[SMALL] = [hangs("Half an", after=2), hangs()]
    script[SOL] = fails(503, retry_after=1)
    options = {"quorum": 1, "hedge_after": 2.5, "max_concurrency": {"mistral": 1}, "retries": 50, "timeout": 30}
    for moment in [number / 8 for number in range(1, 60)]:
        script[LUNA] = answers("Now.", after=moment)
        run(moa.mixture_of_agents(question, [LUNA, HAIKU, SMALL, SMALL], SOL, max_calls=20, **options))
        assert len(script.asked) == 20, f"all that was not sent is the aggregator's ({moment})"


def test_a_second_request_that_is_never_sent_is_not_paid_for(script, run, question):
    """It waits in line until the first is done; the retry of another call gets what it would have cost."""
    script[SMALL] = [fails(503, retry_after=1), answers()]
    replies = run(moa.fan_out([LUNA, SMALL], question, hedge_after=0.5, max_concurrency=1, max_calls=3))
    assert [len(reply.attempts) for reply in replies] == [1, 2]
    assert [reply.hedged for reply in replies] == [(), ()]


def test_a_grant_for_a_retry_that_is_stopped_in_its_pause_is_free_again(script, run, question):
    script[LUNA], script[OSS] = fails(429, retry_after=20), [fails(503, retry_after=1), answers()]
    answer = run(moa.mixture_of_agents(question, [LUNA, HAIKU], OSS, quorum=1, max_calls=4))
    assert (answer.outcome, script.counts()) == ("single", {LUNA: 1, HAIKU: 1, OSS: 2})


def test_a_grant_for_a_retry_that_its_second_request_made_needless_is_free_again(script, run, question):
    """Five calls: two planned, a retry granted, two second requests. Another retry needs one that is free again."""
    script[LUNA] = fails(429, retry_after=20)
    script[SMALL] = [fails(503, after=3, retry_after=1), answers()]
    script[HAIKU] = lambda request: answers() if request.sample == 2 else hangs()
    options = {"hedge_after": 1, "hedge_with": HAIKU, "max_calls": 5}
    replies = run(moa.fan_out([LUNA, SMALL], question, **options))
    assert [reply.by_hedge for reply in replies] == [True, False]
    assert (len(replies.good), script.counts()) == (2, {LUNA: 1, SMALL: 2, HAIKU: 2})
