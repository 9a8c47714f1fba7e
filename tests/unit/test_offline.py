"""What the embedded vendors leave to chance: delays and faults, which repeat for a seed; and what sets them up."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import listed
from moa_helpers.offline import latency, server
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
