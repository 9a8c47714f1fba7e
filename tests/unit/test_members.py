"""Members: models with settings of their own, wherever a model's name is taken."""

import pytest

import moa_helpers as moa
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, hangs

SCEPTIC = moa.Member(SMALL, system="You doubt everything.", temperature=0.9, max_tokens=50, extra={"top_p": 0.5})
REFUSED = [
    (lambda: moa.Member("nobody:model"), moa.UnknownModel, "names no model"),
    (lambda: moa.Member(5), TypeError, "named by a string"),
    (lambda: moa.Member(SCEPTIC), TypeError, "named by a string"),
    (lambda: moa.Member(SMALL, system=" "), ValueError, "system is empty"),
    (lambda: moa.Member(SMALL, system=5), TypeError, "system must be text"),
    (lambda: moa.Member(SMALL, temperature="warm"), TypeError, "temperature must be a number"),
    (lambda: moa.Member(SMALL, temperature=-1), ValueError, "at least 0"),
    (lambda: moa.Member(SMALL, max_tokens=0), ValueError, "max_tokens is 0"),
    (lambda: moa.Member(SMALL, max_tokens=1.5), TypeError, "whole number"),
    (lambda: moa.Member(SMALL, effort="much"), ValueError, "effort is 'much'; it takes none, minimal, low"),
    (lambda: moa.Member(SMALL, effort=[]), ValueError, "effort is"),
    (lambda: moa.Member(SMALL, extra=5), TypeError, "extra must be a mapping"),
    (lambda: moa.Member(SMALL, extra=[["top_p", 1], ["x", 2]]), TypeError, "extra must be a mapping"),
    (lambda: moa.Member(SMALL, extra={"top_p": {1}}), TypeError, "what JSON can hold"),
    (lambda: moa.Member(SMALL, extra={"top_p": float("nan")}), TypeError, "what JSON can hold"),
]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED)
def test_what_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_what_a_model_does_not_take_is_refused_before_any_call(script, run, question):
    for member in (moa.Member(LUNA, temperature=0.5), moa.Member(LUNA, max_tokens=128_001)):
        with pytest.raises(ValueError, match=r"openai:gpt-6-luna (takes no temperature|writes at most)"):
            run(moa.mixture_of_agents(question, [member], SOL))
    with pytest.raises(ValueError, match="leave out its system="):
        run(moa.fan_out([LUNA], question, hedge_after=1, hedge_with=SCEPTIC))
    assert script.asked == []


def test_its_settings_count_in_place_of_the_calls(script, run, question):
    replies = run(moa.fan_out([SMALL, SCEPTIC], question, system="Be brief.", temperature=0.1, max_tokens=99))
    plain, own = (asked.request for asked in script.asked)
    assert (plain.system, plain.temperature, plain.max_tokens, plain.extra) == ("Be brief.", 0.1, 99, {})
    assert (own.system, own.temperature, own.max_tokens) == ("You doubt everything.", 0.9, 50)
    assert own.extra == {"top_p": 0.5}
    assert [reply.model for reply in replies] == [SMALL, SMALL]
    assert [reply.settings for reply in replies] == ["", SCEPTIC.settings]
    assert [asked.request.sample for asked in script.asked] == [0, 1]


def test_a_role_stands_after_the_system_message_of_a_conversation(script, run, question):
    talk = [{"role": "system", "content": "House rules."}, {"role": "user", "content": question}]
    run(moa.mixture_of_agents(talk, [SCEPTIC], moa.Member(SOL, system="Be kind.")))
    proposer, aggregator = (asked.request for asked in script.asked)
    assert proposer.system == "House rules.\n\nYou doubt everything."
    assert aggregator.system.startswith("House rules.\n\nBe kind.\n\n")


def test_one_model_in_three_roles(script, run, question):
    roles = [moa.Member(LUNA, system=f"You are {role}.") for role in ("a poet", "a judge", "a cook")]
    answer = run(moa.mixture_of_agents(question, roles, moa.Member(LUNA, system="You edit.")))
    assert [asked.request.system.partition("\n")[0] for asked in script.asked] == [
        "You are a poet.",
        "You are a judge.",
        "You are a cook.",
        "You edit.",
    ]
    assert answer.outcome == "complete"


def test_wherever_a_name_is_taken(script, run, question):
    script[HAIKU] = hangs()
    reply = run(moa.ask(SCEPTIC, question))
    assert (reply.model, reply.settings) == (SMALL, SCEPTIC.settings)
    run(moa.mixture_of_agents(question, layers=[[SCEPTIC], [LUNA, SCEPTIC]], aggregator=SCEPTIC))
    assert [asked.request.max_tokens for asked in script.asked] == [50, 2048, 50, 50]
    second = moa.Member(SMALL, temperature=0.3)
    reply = run(moa.fan_out([moa.Member(HAIKU, system="Be kind.")], question, hedge_after=1, hedge_with=second))[0]
    assert script.asked[1].request.system == "Be kind.", "it takes the slow one's place"
    assert script.asked[1].request.temperature == 0.3
    assert reply.by_hedge
    script[SMALL] = answers("1")
    run(moa.judge(question, "One.", "Other.", SCEPTIC))
    assert [asked.request.temperature for asked in script.asked] == [0.9, 0.9]


def test_its_own_length_is_priced(question):
    plain, short = moa.estimate(question, [LUNA], SOL), moa.estimate(question, [moa.Member(LUNA, max_tokens=50)], SOL)
    assert short.most_usd < plain.most_usd
    assert (short.max_tokens, short.answer_tokens) == (2048, 400)
    role = moa.estimate(question, [moa.Member(LUNA, system="You doubt. " * 100)], SOL)
    assert role.stages[0][1] > plain.stages[0][1]
    assert role.stages[1][1] == plain.stages[1][1]


def test_how_it_is_written():
    assert repr(moa.Member(LUNA)) == f"moa.Member({LUNA!r})"
    assert str(moa.Member(LUNA)) == LUNA
    assert moa.Member(LUNA).settings == ""
    assert eval(repr(SCEPTIC), {"moa": moa}) == SCEPTIC
    assert SCEPTIC.settings == 'system "You doubt everything.", temperature 0.9, max_tokens 50, extra top_p'
    long = moa.Member(LUNA, system="So it\n goes. " * 20, effort="low").settings
    assert long == 'system "So it goes. So it goes. So it goes. So…", effort low'
    extra = {"top_p": [1]}
    member = moa.Member(LUNA, extra=extra)
    extra["top_p"].append(2)
    assert member.extra == {"top_p": [1]}, "later changes change nothing"
