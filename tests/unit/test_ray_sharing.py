"""What the way through Ray is made of, without Ray: rates that processes share, settings that are handed over."""

import asyncio
import math
import pickle
import sys
from dataclasses import replace

import pytest

import moa_helpers as moa
from moa_helpers.bulk.sharing import LEEWAY, Limiter, SharedRates
from moa_helpers.catalogue import VENDORS
from moa_helpers.limits.rates import MINUTE
from moa_helpers.vendors import settings
from moa_helpers.vendors.handing import Handed
from moa_helpers.vendors.secrets import Variables
from tests.support import clock
from tests.support.scripts import LUNA

KEY = "sk-made-up-key-of-a-driver"


class Actor:
    """As Ray calls an actor, in this process: ``actor.method.remote(...)`` gives something to await."""

    def __init__(self, instance):
        self._instance = instance

    def __getattr__(self, name):
        method = getattr(self._instance, name)
        return type("Method", (), {"remote": lambda self, *given: asyncio.ensure_future(method(*given))})()


@pytest.fixture
def run(run):
    """The same, once all messages have arrived."""

    async def to_the_end(coroutine):
        result = await coroutine
        await asyncio.sleep(1.0)
        return result

    return lambda coroutine: run(to_the_end(coroutine))


def sharing(given, longest=60.0, processes=2):
    limiter = Actor(Limiter(given, longest))
    return [SharedRates(limiter, given) for _ in range(processes)]


def test_no_minute_has_more_than_the_rate_whoever_asks(run):
    sent = []

    async def attempt(rates):
        async with rates.turn("openai", 10) as turn:
            sent.append(clock.now())
            await asyncio.sleep(2.0)
            turn.used(5)

    async def main():
        one, other = sharing({"openai": moa.Rate(requests=10)})
        await asyncio.gather(*(attempt(rates) for rates in [one, other] * 15))

    run(main())
    assert len(sent) == 30
    assert max(sum(begin <= at < begin + MINUTE for at in sent) for begin in sent) == 10


def test_the_turn_of_a_dead_process_ends_with_the_longest_attempt(run):
    async def main():
        dead, other = sharing({"openai": moa.Rate(requests=1)}, longest=30.0)
        await dead._limiter.turn.remote("openai", 10, math.inf)  # and never settled
        async with other.turn("openai", 10):
            return clock.now()

    assert run(main()) == pytest.approx(30.0 + LEEWAY + MINUTE, abs=1.0)


def test_a_turn_that_nobody_waits_for_any_more_takes_no_room(run):
    async def enter(rates):
        async with rates.turn("openai", 10):
            return clock.now()

    async def main():
        one, other = sharing({"openai": moa.Rate(requests=1)})
        await enter(one)
        given_up = asyncio.create_task(enter(one))
        await asyncio.sleep(1.0)
        given_up.cancel()
        return await enter(other)

    assert run(main()) == pytest.approx(MINUTE, abs=1.0)


def test_a_vendor_without_a_rate_is_not_asked_about_until_it_tells(run):
    async def main():
        (rates,) = sharing({}, processes=1)
        for _ in range(3):
            async with rates.turn("openai", 10):
                pass
        before = clock.now()
        rates.learn("openai", {"x-ratelimit-limit-requests": "1"})
        rates.hold("openai", 5.0)
        async with rates.turn("openai", 10):
            return before, clock.now()

    before, after = run(main())
    assert before == 0.0
    assert after == pytest.approx(5.0, abs=0.5)


def test_a_request_above_the_rate_is_refused_in_plain_words(run):
    async def main():
        (rates,) = sharing({"openai": moa.Rate(tokens=100)}, processes=1)
        async with rates.turn("openai", 101):
            pass

    with pytest.raises(ValueError, match="101 tokens, but its rate is 100 a minute"):
        run(main())


def test_settings_are_handed_over_and_never_shown(monkeypatch):
    moa.add_host("acme", "https://someone:secret-of-acme@llm.acme.example/v1", key="ACME_API_KEY")
    values = Variables({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://someone:secret-of-host@gate.example/v1"})
    addresses = {"local:tiny": "https://someone:secret-of-tiny@gpu.example/v1"}
    here = replace(settings.current(), mode="live", offline_url=None, local_models=addresses, _values=values)
    monkeypatch.setattr(settings, "_current", here)
    handed = Handed("here")
    assert not [text for text in (KEY, "secret-of") if text in f"{handed!r} {handed} {vars(handed)}"]
    sent = pickle.dumps(handed)
    del VENDORS["acme"]
    monkeypatch.setattr(settings, "_current", None)
    pickle.loads(sent).take("there")
    found = settings.current()
    assert found.mode == "live"
    assert found.key(VENDORS["openai"]) == KEY
    assert "secret-of-host" in found.address(VENDORS["openai"])
    assert "secret-of-tiny" in found.local_models["local:tiny"]
    assert "secret-of-acme" in VENDORS["acme"].base_url
    assert "secret-of" not in repr(found)


def test_without_ray_it_says_what_to_install_before_any_call(monkeypatch, run, script):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("moa_helpers.bulk.answering.world", lambda **how: "no server is started")
    with pytest.raises(ImportError, match=r"pip install 'moa-helpers\[ray\]'"):
        run(moa.answer_all(["Why?"], LUNA, path="answers.sqlite", how="ray"))
    assert script.asked == []
