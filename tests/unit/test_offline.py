"""What the embedded vendors leave to chance: delays and faults, which repeat for a seed; and what sets them up."""

import json
import math
import random
import re
import time
from collections import Counter
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import listed
from moa_helpers.offline import asked, latency, server, turns
from moa_helpers.offline.faults import DRAWN, Fault, Faults
from moa_helpers.offline.latency import Latency
from moa_helpers.offline.server import OfflineVendors
from tests.support.scripts import HAIKU, LUNA, SMALL

MODELS = [LUNA, HAIKU, SMALL]
start = offline.start  # the tests' own _fresh forbids it


def interleaved(draw, prompts, order):
    """What ``draw(model, prompt)`` gives each of three rounds of questions that come in an order of their own."""
    asked = [(model, prompt) for model in MODELS for prompt in prompts] * 3
    random.Random(order).shuffle(asked)
    found = {pair: [] for pair in asked}
    for pair in asked:
        found[pair].append(draw(*pair))
    return found


def hits(seed, text, prompts, order=0):
    """Which kind of fault, if any, hit which request."""
    faults = Faults(text, seed)

    def draw(model, prompt):
        fault = faults.next(model.partition(":")[0], model, prompt)
        return fault and fault.kind

    return interleaved(draw, prompts, order)


# Delays


def test_delays_do_not_depend_on_the_order_of_different_questions():
    prompts = [f"Question {number}?" for number in range(20)]
    one, two = (interleaved(Latency(3).draw, prompts, order) for order in (1, 2))
    assert one == two
    assert one != interleaved(Latency(4).draw, prompts, 1)
    delays = [ttft for drawn in one.values() for ttft, _ in drawn]
    assert len(set(delays)) > 0.9 * len(delays), "questions or their repeats share a delay"  # spikes of a model do


def test_a_seed_repeats_the_delays():
    def draws(seed, count=500):
        clock = Latency(seed)
        return {model: [clock.draw(model) for _ in range(count)] for model in MODELS}

    first = draws(7)
    assert first == draws(7)
    assert first != draws(8)
    for model in MODELS:
        median, rate = latency.median(model)
        times = sorted(ttft for ttft, _ in first[model])
        assert times[250] == pytest.approx(median, rel=0.1)
        assert 0.01 < sum(ttft == pytest.approx(6 * median) for ttft in times) / 500 < 0.06  # rare spikes
        assert {rate for _, rate in first[model]} == {rate}


def test_every_model_has_a_delay():
    for name in listed():
        ttft, rate = latency.median(name)
        assert 0 < ttft < 10
        assert 1 < rate < 1000


# Faults


def test_a_chance_hits_its_share_and_any_draws_every_kind():
    prompts = [f"Question {number}?" for number in range(400)]
    one, two = (hits(3, "*=any,chance=0.3", prompts, order) for order in (1, 2))
    assert one == two
    assert one != hits(4, "*=any,chance=0.3", prompts)
    drawn = Counter(kind for kinds in one.values() for kind in kinds)
    share = 1 - drawn.pop(None) / (3 * 3 * 400)
    assert share == pytest.approx(0.3, abs=0.04)  # five standard deviations
    assert set(drawn) == set(DRAWN) == set(offline.KINDS) - {"any"}
    assert max(drawn.values()) < 3 * min(drawn.values())
    for place in range(3):  # a request says nothing about the next one of the same prompt
        assert sum(kinds[place] is not None for kinds in one.values()) / 1200 == pytest.approx(0.3, abs=0.07)
    repeated = sum(None not in kinds for kinds in one.values()) / 1200
    assert repeated == pytest.approx(0.3**3, abs=0.025)


def test_a_fault_that_chance_passes_by_leaves_the_request_to_the_next():
    prompts = [f"Question {number}?" for number in range(100)]
    found = hits(0, "openai=hang,chance=0.5; *=429", prompts)
    drawn = Counter((model.partition(":")[0], kind) for (model, _), kinds in found.items() for kind in kinds)
    assert set(drawn) == {("openai", "hang"), ("openai", "429"), ("anthropic", "429"), ("mistral", "429")}
    assert drawn["openai", "hang"] / 300 == pytest.approx(0.5, abs=0.15)
    assert set(hits(0, "*=hang,chance=0", prompts)[LUNA, prompts[0]]) == {None}
    some = hits(0, "*=hang,chance=0.5,times=5", prompts)
    assert sum(kind == "hang" for kinds in some.values() for kind in kinds) == 5


def test_the_last_fault_switched_on_comes_first_and_ends_with_its_block():
    faults = Faults(f"*=429; {LUNA}=401")

    def next_at(model, header=None):
        return getattr(faults.next(model.partition(":")[0], model, "Why?", header), "kind", None)

    with faults.switched_on(Fault("openai", "hang")):
        assert (next_at(LUNA), next_at(SMALL)) == ("hang", "429")
        assert next_at(LUNA, "503,retry_after=1") == "503", "one that a request asks for itself comes first"
        with faults.switched_on(Fault(LUNA, "empty", times=1)):
            assert [next_at(LUNA), next_at(LUNA)] == ["empty", "hang"]
    assert next_at(LUNA) == "429"
    with pytest.raises(KeyError), faults.switched_on(Fault("*", "reset")):
        raise KeyError
    assert next_at(LUNA) == "429"


def test_faults_that_do_not_exist_are_refused():
    for text in (
        "openai=flood",
        "openai=429,for=3",
        "openai",
        "*=any,chance=1.1",
        "*=hang,chance=-0.1",
        "*=429,chance=nan",
        "google=429",
    ):
        with pytest.raises(ValueError, match=r"no fault|takes retry_after, times and chance|from 0 to 1|neither '\*'"):
            OfflineVendors(faults=text)


def test_the_draws_of_a_seed_are_those_of_the_lesson():
    """The notebooks' stored outputs hold them: the dice are made of the same text as ever."""
    for number in range(3):
        wanted = random.Random(f"3/{LUNA}/{number}/Why?")
        spike = wanted.random() < latency.SPIKE_CHANCE
        ttft = latency.median(LUNA)[0]
        clock = Latency(3)
        drawn = [clock.draw(LUNA, "Why?") for _ in range(number + 1)][-1][0]
        assert drawn == (ttft * latency.SPIKE_FACTOR if spike else ttft * math.exp(latency.SIGMA * wanted.gauss(0, 1)))
    faults = Faults("*=any,chance=0.5", seed=4)
    for number in range(8):
        wanted = random.Random(f"4/*=any/{LUNA}/{number}/Why?")
        kind = wanted.choice(DRAWN) if wanted.random() < 0.5 else None
        assert getattr(faults.next("openai", LUNA, "Why?"), "kind", None) == kind


def test_of_many_prompts_only_the_latest_are_kept_and_none_by_its_text(monkeypatch):
    monkeypatch.setattr(turns, "KEPT", 10)
    counted = turns.Turns()
    for number in range(100):
        assert counted.next(LUNA, f"{number}" * 1000) == 0
        assert counted.next(LUNA, "Why?") == number, "what is asked again and again is not forgotten"
    assert len(counted._counts) == 10
    assert {len(key) for key in counted._counts} == {16}
    assert [counted.next(LUNA, "99" * 1000), counted.next(SMALL, "99" * 1000), counted.next(LUNA, "0" * 1000)] == [
        1,
        0,
        0,
    ]


def test_long_prompts_have_draws_of_their_own():
    long = "x" * turns.LONG
    prompts = [long, long + "x", long + "y", "y" + long, long * 100]
    assert len({Latency(0).draw(LUNA, prompt) for prompt in prompts}) == 5
    assert Latency(0).draw(LUNA, prompts[4]) == Latency(0).draw(LUNA, prompts[4])


CONVERSATION = [{"role": "user", "content": "Why?"}] * 30_000
MEGABYTES = ["word and " * 110_000, " " * 1_000_000, "<reference-00000000 number=1>\n" * 33_000, "\U0001f600" * 80_000]


@pytest.mark.parametrize("messages", [*([{"role": "user", "content": text}] for text in MEGABYTES), CONVERSATION])
def test_a_long_request_is_read_and_drawn_for_in_a_moment(messages):
    """So that it stops no other one: they share one event loop. The yardstick is reading as much JSON."""
    many = json.dumps(CONVERSATION)
    body = json.dumps({"model": "gpt-6-luna", "messages": messages}).encode()
    clock, faults = Latency(0), Faults("*=any,chance=0.1; openai=429,chance=0.1")

    def yardstick():
        began = time.thread_time()
        json.loads(many)
        return time.thread_time() - began

    def spent():
        began = time.thread_time()
        request = asked.read(asked.parsed(body, {}), {}, None, messages=False)
        faults.next("openai", request.model.name, request.prompt)
        clock.draw(request.model.name, request.prompt)
        return time.thread_time() - began

    assert len(body) > 900_000
    assert min(spent() for _ in range(5)) < 8 * min(yardstick() for _ in range(5))


def test_a_fault_says_what_is_wrong_with_it():
    for text, words in (
        ("*=429,retry_after=nan", "retry_after is nan"),
        ("*=429,retry_after=inf", "retry_after is inf"),
        ("*=429,retry_after=-1", "retry_after is -1.0"),
        ("*=429,retry_after=soon", "retry_after is 'soon'; it must be a number"),
        ("*=429,retry_after", "retry_after is ''; it must be a number"),
        ("*=429,times=1.5", "times is '1.5'; it must be a whole number"),
        ("*=429,times=-2", "times is -2"),
        ("*=429,chance=often", "chance is 'often'; it must be a number"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            Faults(text)
    with pytest.raises(ValueError, match="retry_after is nan"):
        Fault("*", "429", retry_after=math.nan)


# What sets them up


def test_they_start_once_with_the_variables_they_are_given(monkeypatch):
    started = []
    monkeypatch.setattr(offline, "_running", None)
    monkeypatch.setattr(server, "Server", lambda vendors: started.append(vendors) or SimpleNamespace(vendors=vendors))
    given = {"MOA_OFFLINE_SPEED": "33", "MOA_OFFLINE_SEED": "7", "MOA_OFFLINE_FAULTS": "*=429,times=1"}
    vendors = start(given).vendors
    assert start({}).vendors is vendors
    assert started == [vendors]
    assert vendors.speed == 33.0
    assert vendors.faults.next("openai", LUNA).kind == "429"


def test_a_variable_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setattr(offline, "_running", None)
    for name, value, words in (
        ("SPEED", "fast", "could not convert"),
        ("SPEED", "0", "The speed is 0.0; it must be above 0"),
        ("SPEED", "nan", "The speed is nan"),
        ("SPEED", "inf", "The speed is inf"),
        ("SEED", "1.5", "invalid literal"),
        ("FAULTS", "*=flood", "There is no fault 'flood'"),
    ):
        with pytest.raises(ValueError, match=rf"MOA_OFFLINE_SEED, _SPEED or _FAULTS cannot be read: .*{words}"):
            start({f"MOA_OFFLINE_{name}": value})


def test_setup_hands_them_what_the_environment_and_a_file_say(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(offline, "start", lambda values: given.append(values) or SimpleNamespace(url="http://here"))
    (tmp_path / ".env").write_text("MOA_MODE=offline\nMOA_OFFLINE_SPEED=33\nMOA_OFFLINE_SEED=5\nOPENAI_API_KEY=dummy\n")
    monkeypatch.delenv("MOA_MODE")
    monkeypatch.delenv("MOA_OFFLINE_SPEED")
    monkeypatch.setenv("MOA_OFFLINE_SEED", "6")
    assert moa.setup().offline_url == "http://here"
    assert (given[0]["MOA_OFFLINE_SPEED"], given[0]["MOA_OFFLINE_SEED"]) == ("33", "6")
