"""A comparison's keys, as version 0.1 made them: a key that changes is an answer that is paid for twice."""

from contextlib import ExitStack
from dataclasses import fields, replace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.store.answers import Answers, key_of
from moa_helpers.vendors.requests import Request, Turn
from moa_helpers.vendors.settings import world
from tests.support import standins
from tests.support.kept import rows
from tests.support.replies import A, B
from tests.support.scripts import answers, hangs

RANKER = "Choose.\n\n<candidate-0a1b2c3d number=1>\nYes.\n</candidate-0a1b2c3d>"


def request(model=A, prompt="Why is the sky blue?", offline=True, **options):
    return Request(moa.find(model), prompt, offline=offline, **options)


def other_world():
    """Stand-ins that know and like other things, and a fault that changes texts beside one that does not."""
    return [
        offline.knowledge(alike=0.6, said=1, recall={A: 0.7}, credulity={B: 0.25}),
        offline.judging(points=0.5, position=0, length=1.5, family=-0.25),
        offline.fault("mistral", "liar", chance=0.5),
        offline.fault(A, 429, times=1),
    ]


# Each was computed with version 0.1 (commit 91d5d88).
KEYS = {
    "live": (request(offline=False), list, "51e11b56621895a49ddebda698c0f76d"),
    "live, with everything": (
        request(
            B, "“Why”\n?", offline=False, system="Be brief.", max_tokens=77, temperature=0.5, sample=3, role="layer 1"
        ),
        list,
        "c93cc53dde4654d2775184fb9025f602",
    ),
    "live, a judge": (request(offline=False, system=RANKER, role="judge"), list, "ba14b629bfba5c206783ddf637622373"),
    "offline": (request(), list, "3fc8440ddd72031bb6aef1ad12a1484f"),
    "offline, an aggregator": (
        request(system="Synthesise.", role="aggregator"),
        list,
        "32825f6f30e13850fd72bff92381e204",
    ),
    "offline, a second request": (request(sample=3, role="second request"), list, "cb102f6bec1d61b55870deecf1428f6c"),
    "offline, a choice": (request(system=RANKER, role="judge"), list, "3b24f65cc9ded1aea062e9ac1736748c"),
    "in another world": (request(B, role="layer 2"), other_world, "ef0ab5f0f446ef20572376acb0698d81"),
    "a choice in another world": (
        request(B, system=RANKER, role="aggregator"),
        other_world,
        "9395bc517213daaed7117bb81903ad25",
    ),
}


@pytest.fixture
def store(tmp_path, monkeypatch, script):
    standins.enter(monkeypatch, script)
    store = Answers(tmp_path / "calls.sqlite")
    yield store
    store.close()


@pytest.mark.parametrize("name", KEYS)
def test_the_key_of_a_call_is_that_of_0_1(name, store):
    asked, surroundings, key = KEYS[name]
    lane = "q-1", "a strategy"
    with ExitStack() as stack:
        for each in surroundings():
            stack.enter_context(each)
        store.keep(asked, moa.Reply(asked.model.name, "Because."), lane)
        assert [row["key"] for row in rows(store.path)] == [key]
        assert store.find(asked, lane).text == "Because."
        assert store.find(asked, ("q-2", "a strategy")) is None
        assert store.find(asked) is None


def test_the_key_of_an_answer_is_that_of_0_1(store):
    how = {"reference_models": [A, B], "aggregator": A, "hedge_after": 0.05, "quorum": None}
    for offline_ in (False, True):
        key = key_of("q-1", "Why?", "a strategy", how, world(offline=offline_, chooses=True))
        store.keep_row(key, {"text": "Because."})
    keys = [row["key"] for row in rows(store.path)]
    assert keys == ["1164aea1a631f085619d2db3f506f737", "8b03e00af43f411c86c011ba4ee20829"]


PLAIN = request(offline=False, here=True)
OTHERS = [
    {"model": moa.find(B)},
    {"prompt": "Why is the sky blue? "},
    {"system": "Be brief."},
    {"before": (Turn("user", "Why is the sky blue?"), Turn("assistant", "Because."))},
    {"before": (Turn("user", "Because."), Turn("assistant", "Why is the sky blue?"))},
    {"after": "Because."},
    {"reminder": "Because."},
    {"max_tokens": 100},
    {"temperature": 0.0},
    {"temperature": 0.5},
    {"effort": "low"},
    {"extra": {"top_p": 0.5}},
    {"extra": {"top_p": 0.6}},
    {"sample": 1},
    {"here": False},
    {"here": False, "offline": True},
]


def test_whatever_is_sent_tells_requests_apart(store):
    asked = [PLAIN, *(replace(PLAIN, **other) for other in OTHERS)]
    for number, each in enumerate(asked):
        assert store.find(each) is None, "an answer to another request"
        store.keep(each, moa.Reply(each.model.name, str(number)))
    assert [store.find(each).text for each in asked] == [str(number) for number in range(len(asked))]


@pytest.mark.parametrize(
    "same", [{"role": "layer 2"}, {"settings": "effort low"}, {"sdk": object()}, {"here": False, "reminder": "Choose."}]
)
def test_what_is_not_sent_does_not(same, store):
    plain = replace(PLAIN, here=same.get("here", True))
    store.keep(plain, moa.Reply(A, "Because."))
    assert store.find(replace(plain, **same)).text == "Because."


def test_stand_ins_with_other_traits_are_others(store):
    store.keep(request(), moa.Reply(A, "Because."))
    with offline.knowledge(alike=1):
        assert store.find(request()) is None
    with offline.judging(position=9):
        assert store.find(request())
        chooses = request(before=(Turn("user", "Why?"), Turn("assistant", "So.")), after=RANKER)
        store.keep(chooses, moa.Reply(A, "1"))
    assert store.find(chooses) is None, "what chooses is swayed"


def test_no_trait_is_forgotten():
    """A trait that is added later belongs into the key where it is not at its default, else old files are lost."""
    assert [each.name for each in fields(offline.Knowledge)] == ["alike", "said", "recall", "credulity"]
    assert [each.name for each in fields(offline.Judging)] == ["points", "position", "length", "family"]


def test_the_roles_are_those_of_0_1(run, script):
    """They stand in the keys, so none is renamed."""
    script[B] = [hangs(), answers()]  # so that a second request goes out
    roles = set()
    for made in (
        moa.mixture_of_agents("Why?", [A, B], A, layers=3, hedge_after=0.5),
        moa.judge("Why?", "Because.", "So.", A),
        moa.ask(A, "Why?"),
    ):
        run(made)
        roles |= {asked.request.role for asked in script.asked}
    assert roles == {"layer 1", "layer 2", "aggregator", "second request", "judge", ""}
