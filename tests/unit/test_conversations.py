"""A conversation in place of a prompt: who is given what of it, and what is refused before any call."""

from itertools import pairwise

import pytest

import moa_helpers as moa
from moa_helpers.limits.conversations import read_prompt
from moa_helpers.prompts import AFTER
from moa_helpers.vendors.requests import Turn
from tests.support.hostile import read_fences
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, hangs

RULES = {"role": "system", "content": "Answer in one line."}
TALK = [
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Rayleigh scattering."},
    {"role": "user", "content": [{"type": "text", "text": "And the "}, {"type": "text", "text": "sunset?"}]},
]
BEFORE = (Turn("user", "Why is the sky blue?"), Turn("assistant", "Rayleigh scattering."))


def user(content):
    return {"role": "user", "content": content}


REFUSED = {
    "empty": ([], ValueError, "conversation is empty: write at least"),
    "a mapping alone": (TALK[0], TypeError, "prompt must be text, not dict"),
    "no mapping": ([user("Why?"), ("user", "Why?")], TypeError, "Message 2 of the conversation must be a mapping"),
    "no role": ([{"content": "Why?"}], ValueError, "Message 1 .* has the role None; it takes system, user, assistant"),
    "unknown role": ([{"role": "tool", "content": "5"}, user("Why?")], ValueError, "role 'tool'"),
    "two system messages": ([RULES, RULES, user("Why?")], ValueError, "one system message, its first message"),
    "a later system message": ([user("Why?"), RULES, user("Why?")], ValueError, "one system message"),
    "ends with assistant": (TALK[:2], ValueError, "must end with a message of the user"),
    "a system message alone": ([RULES], ValueError, "must end with a message of the user"),
    "empty content": ([user("  ")], ValueError, "The message 1 of the conversation is empty"),
    "no content": ([{"role": "user"}], TypeError, "message 1 of the conversation must be text, not NoneType"),
    "an image": ([user([{"type": "image_url", "image_url": {}}])], TypeError, "a part that is no text"),
    "no parts": ([user([])], ValueError, "is empty"),
    "tool calls": ([TALK[0], TALK[1] | {"tool_calls": [{}]}, TALK[2]], ValueError, "Message 2 .* holds 'tool_calls'"),
    "a lone surrogate": ([user("Why?\ud800")], ValueError, "half a character"),
    "a number": ([user(5)], TypeError, "must be text, not int"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused(how, script, run):
    prompt, error, words = REFUSED[how]
    calls = [
        lambda: moa.ask(LUNA, prompt),
        lambda: moa.fan_out([LUNA], prompt),
        lambda: moa.mixture_of_agents(prompt, [LUNA], SOL),
        lambda: moa.judge(prompt, "One.", "Other.", SOL),
    ]
    for call in calls:
        with pytest.raises(error, match=words):
            run(call())
    with pytest.raises(error, match=words):
        moa.estimate(prompt, [LUNA], SOL)
    assert script.asked == []


def test_two_system_messages_from_two_sides_are_refused(script, run):
    with pytest.raises(ValueError, match="join them in one"):
        run(moa.ask(LUNA, [RULES, *TALK], system="Be brief."))
    assert script.asked == []


def test_what_others_leave_empty_is_no_fault():
    left = {"refusal": None, "tool_calls": None, "annotations": []}
    assert read_prompt([TALK[0], TALK[1] | left, TALK[2]]) == (None, BEFORE, "And the sunset?")


def test_one_message_is_its_text(script, run, question):
    for prompt in (question, [user(question)], (user([{"type": "text", "text": question}]),)):
        run(moa.mixture_of_agents(prompt, [LUNA, HAIKU], SOL))
        requests = [asked.request for asked in script.asked]
        assert [one.prompt for one in requests] == [question] * 3
        assert all(one.before == () and one.after == "" for one in requests)
        assert requests[2].system.startswith("Several models were asked")


def test_all_are_given_the_whole_of_it(script, run):
    answer = run(moa.mixture_of_agents([RULES, *TALK], [LUNA, HAIKU], SOL, layers=3))
    assert answer.prompt == "And the sunset?"
    assert answer.outcome == "complete"
    for asked in script.asked:
        request = asked.request
        assert request.before == BEFORE
        assert request.prompt == "And the sunset?"
    first, later = script.asked[:2], script.asked[2:]
    assert {asked.request.system for asked in first} == {RULES["content"]}
    assert {asked.request.asked for asked in first} == {"And the sunset?"}
    assert {asked.request.system for asked in later} == {f"{RULES['content']}\n\n{AFTER}"}
    for asked, layer in zip(later, [answer.layers[0], answer.layers[0], answer.layers[1]], strict=True):
        assert asked.request.asked == f"And the sunset?\n\n{moa.aggregator_system(layer)}"
        assert read_fences(asked.request.after)[1] == [reply.text for reply in layer]


def test_what_stands_first_is_the_same_at_every_turn(script, run):
    talk, sent = [RULES], []
    for turn in range(5):
        talk.append(user(f"Question {turn}?"))
        answer = run(moa.mixture_of_agents(talk, [LUNA, HAIKU], SOL))
        talk.append({"role": "assistant", "content": answer.text})
        sent.append([asked.request.messages for asked in script.asked])
    for earlier, later in pairwise(sent):
        for one, next_one in zip(earlier, later, strict=True):
            assert next_one[: len(one) - 1] == one[:-1]


def test_a_ranker_and_a_second_request_get_it_too(script, run):
    script[LUNA], script[SOL] = hangs(), answers("2")
    options = {"pick": True, "hedge_after": 2.0, "hedge_with": SMALL}
    answer = run(moa.mixture_of_agents([RULES, *TALK], [LUNA, HAIKU], SOL, **options))
    assert answer.picked.model == HAIKU
    assert {asked.model for asked in script.asked} == {LUNA, HAIKU, SMALL, SOL}
    assert all(asked.request.before == BEFORE for asked in script.asked)
    assert all(asked.request.system.startswith(RULES["content"]) for asked in script.asked)
    ranker = script.asked[-1].request
    assert read_fences(ranker.after)[1] == [reply.text for reply in answer.layers[0]]


def test_all_of_it_is_priced():
    short = moa.estimate("And the sunset?", [LUNA, HAIKU], SOL)
    whole = moa.estimate([RULES, *TALK], [LUNA, HAIKU], SOL)
    long = moa.estimate([RULES, TALK[0], {"role": "assistant", "content": "So. " * 1000}, TALK[2]], [LUNA, HAIKU], SOL)
    assert short.most_usd < whole.most_usd < long.most_usd
    assert whole.stages[1][1] > short.stages[1][1], "the aggregator reads it, too"


def test_the_judge_gets_it(script, run):
    script[SOL] = [answers("1"), answers("2")]
    assert run(moa.judge(TALK, "One.", "Other.", SOL)).score == 1.0
    assert all(asked.request.before == BEFORE for asked in script.asked)
