"""Rates: what a vendor counts in any minute, who goes first, and what is learnt from the vendor's answers."""

import asyncio
import bisect
import contextlib
import itertools
import math
import pickle
import random
from datetime import UTC, datetime, timedelta

import pytest

import moa_helpers as moa
from moa_helpers.limits.rates import Rate, Rates, size
from moa_helpers.plan import plan_fan_out
from tests.support import clock
from tests.support.scripts import HAIKU, LUNA

WRONG = {
    "no limit": (lambda: Rate(), ValueError, "give requests, tokens or both"),
    "none": (lambda: Rate(requests=0), ValueError, "requests of a Rate is 0"),
    "less than none": (lambda: Rate(tokens=-5), ValueError, "tokens of a Rate is -5"),
    "a bool": (lambda: Rate(requests=True), TypeError, "whole number"),
    "not a number": (lambda: Rate(tokens=math.nan), TypeError, "whole number"),
    "infinite": (lambda: Rate(tokens=math.inf), TypeError, "whole number"),
    "a text": (lambda: Rate("500"), TypeError, "whole number"),
    "no vendor's": (lambda: Rates({"acme": Rate(5)}), ValueError, "rates names 'acme'; it takes the vendors openai"),
    "all vendors'": (lambda: Rates({"all": Rate(5)}), ValueError, "rates names 'all'"),
    "a model's": (lambda: Rates({LUNA: Rate(5)}), ValueError, "rates names 'openai:"),
    "a bare number": (lambda: Rates({"openai": 500}), TypeError, "rates has 500 for openai: write moa.Rate"),
    "a single one": (lambda: Rates(Rate(5)), TypeError, "must be a mapping"),
    "a list": (lambda: Rates([("openai", Rate(5))]), TypeError, "must be a mapping"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_makes_no_sense_is_refused_before_a_call(wrong):
    make, kind, words = WRONG[wrong]
    with pytest.raises(kind, match=words):
        make()


def test_answer_all_refuses_it_as_well(run, script, question):
    with pytest.raises(ValueError, match="acme"):
        run(moa.answer_all([question], LUNA, rates={"acme": Rate(5)}))
    assert script.asked == []


def test_what_was_given_can_be_handed_to_another_process():
    given = {"openai": Rate(500, 200_000), "mistral": Rate(tokens=7)}
    assert pickle.loads(pickle.dumps(Rates(given).given)) == given


class Vendor:
    """Counts what arrives, at some moment of each attempt, as a vendor does."""

    def __init__(self, rates, seed=0):
        self.rates, self.dice = rates, random.Random(seed)
        self.sent, self.counted = [], []  # the names and when, in order; when it counted, and how many tokens

    async def ask(self, name="", *, reserved=1, used=None, lasts=0.0, until=math.inf):
        """One attempt. Where it is cancelled, or ``used`` is None, nobody learns what it used: that is all of it."""
        async with self.rates.turn("openai", reserved, until) as turn:
            began = clock.now()
            self.sent.append((name, began))
            late = 0.0
            try:
                await asyncio.sleep(lasts)
                if used is not None:
                    turn.used(used)
            except asyncio.CancelledError:
                late = self.dice.random()  # what is given up may still be on its way
                raise
            finally:
                self.counted.append((self.dice.uniform(began, clock.now() + late), turn.tokens))

    def most(self):
        """The most requests, and the most tokens, that were counted in any minute."""
        counted = sorted(self.counted)
        times = [when for when, _ in counted]
        sums = [0, *itertools.accumulate(tokens for _, tokens in counted)]
        minutes = [(first, bisect.bisect_left(times, when + 60)) for first, when in enumerate(times)]
        return max(end - first for first, end in minutes), max(sums[end] - sums[first] for first, end in minutes)


async def together(*coroutines):
    async with asyncio.TaskGroup() as group:
        return [group.create_task(coroutine) for coroutine in coroutines]


@pytest.mark.parametrize("seed", range(12))
def test_no_minute_at_the_vendor_holds_more_than_was_set(seed, run):
    """Whenever it counts between the beginning and the end of an attempt, and however these come, last and end."""
    dice = random.Random(seed)
    most, tokens, lasts = dice.choice([1, 3, 10, 40]), dice.choice([1000, 5000, 20_000]), dice.choice([0.1, 1, 20, 90])
    vendor = Vendor(Rates({"openai": Rate(most, tokens)}), seed)

    async def one():
        await asyncio.sleep(dice.choice([0, dice.uniform(0, 200)]))
        reserved = dice.randint(1, dice.choice([50, 1000]))
        used = dice.choice([None, 0, dice.randint(0, reserved)])
        with contextlib.suppress(TimeoutError):  # some are cancelled, while they wait or under way
            async with asyncio.timeout(dice.choice([None, None, dice.uniform(0, 100)])):
                await vendor.ask(reserved=reserved, used=used, lasts=lasts * dice.expovariate(1))

    run(together(*(one() for _ in range(most * 6))))
    requests, used = vendor.most()
    assert most / 2 <= requests <= most
    assert used <= tokens


@pytest.mark.parametrize("rate", [Rate(requests=120), Rate(tokens=120_000), Rate(120, 120_000)])
def test_with_short_calls_nine_tenths_of_a_rate_are_used(rate, run):
    vendor = Vendor(Rates({"openai": rate}))
    run(together(*(vendor.ask(reserved=2000, used=1000, lasts=2.0) for _ in range(1200))))
    assert vendor.sent[-1][1] < 10 * 60 / 0.9


def test_who_comes_first_goes_first_and_small_ones_do_not_pass_a_large_one(run):
    vendor = Vendor(Rates({"openai": Rate(tokens=1000)}))

    async def asked():
        tasks = []
        for name, reserved in [("a", 600), ("b", 300), ("large", 1000), *((number, 1) for number in range(20))]:
            tasks.append(asyncio.create_task(vendor.ask(name, reserved=reserved, lasts=1.0)))
            await asyncio.sleep(0.01)
        await asyncio.wait(tasks)

    run(asked())
    assert [name for name, _ in vendor.sent] == ["a", "b", "large", *range(20)]
    assert dict(vendor.sent) == pytest.approx({"a": 0, "b": 0.01, "large": 62.01, **dict.fromkeys(range(20), 124.01)})


def test_who_is_cancelled_in_line_takes_no_room_and_holds_nobody_up(run):
    vendor = Vendor(Rates({"openai": Rate(requests=2)}))

    async def asked():
        tasks = [asyncio.create_task(vendor.ask(number)) for number in range(8)]
        await asyncio.sleep(1)
        for task in tasks[2:6]:  # the first of those that wait, and some behind it
            task.cancel()
        await asyncio.wait(tasks)

    run(asked())
    assert vendor.sent == [(0, 0), (1, 0), (6, pytest.approx(61)), (7, pytest.approx(61))]


def test_what_was_set_aside_and_not_used_is_free_as_soon_as_that_is_known(run):
    vendor = Vendor(Rates({"openai": Rate(tokens=1000)}))
    run(together(*(vendor.ask(number, reserved=600, used=100, lasts=5.0) for number in range(4))))
    assert [when for _, when in vendor.sent] == pytest.approx([0, 5, 10, 15], abs=0.6)


def test_what_was_not_sent_after_all_takes_no_room(run):
    vendor = Vendor(Rates({"openai": Rate(requests=2, tokens=1000)}))

    async def asked():
        async with vendor.rates.turn("openai", 500):
            pass
        for used in (None, 0, 400):
            async with vendor.rates.turn("openai", 500) as turn:
                turn.used(used)
                turn.sent = False
        await together(vendor.ask("first", reserved=500), vendor.ask("later"))

    run(asked())
    assert vendor.sent == [("first", 0), ("later", pytest.approx(61))]


def test_vendors_do_not_wait_for_each_other(run):
    rates = Rates({"openai": Rate(requests=1), "mistral": Rate(requests=1)})

    async def asked():
        for vendor in ("openai", "mistral", "anthropic", "anthropic"):
            async with rates.turn(vendor, 10_000):
                pass
        return clock.now()

    assert run(asked()) == 0


def test_until_its_deadline_a_turn_waits_and_then_it_has_no_room(run):
    vendor = Vendor(Rates({"openai": Rate(requests=1)}))

    async def asked():
        await vendor.ask()
        await together(vendor.ask("late", until=clock.START + 10), vendor.ask("in time", until=clock.START + 62))

    run(asked())
    assert vendor.sent == [("", 0), ("late", pytest.approx(10)), ("in time", pytest.approx(61))]


def test_a_request_above_the_rate_of_a_whole_minute_is_refused_and_not_waited_for(run, script, question):
    rates = Rates({"openai": Rate(tokens=2000)})
    small, large, elsewhere = (
        plan_fan_out([model], question, max_tokens=most).stages[0][0]
        for model, most in ((LUNA, 1900), (LUNA, 2000), (HAIKU, 2000))
    )
    assert 1900 < size(small) <= 2000 < size(large)
    rates.check(small)
    rates.check(elsewhere)
    with pytest.raises(ValueError, match=r"may take 2,01\d tokens, but its rate is 2,000 a minute: lower max_tokens"):
        rates.check(large)

    async def asked():
        async with rates.turn("openai", size(large)):
            pytest.fail("it has no room")

    with pytest.raises(ValueError, match="its rate is 2,000 a minute"):
        run(asked())


def moment(seconds):
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# headers -> seconds until the next request is sent
HELD = {
    "OpenAI's": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1),
    "in minutes": ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30.5s"}, 90.5),
    "Groq's": ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s"}, 7.66),
    "milliseconds": ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
    "a whole day": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "11h59m2s"}, 120),
    "Mistral's": ({"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "12"}, 12),
    "Cerebras's": ({"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "9.5"}, 9.5),
    "of more than one": (
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}
        | {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
        120,
    ),
    "Retry-After": ({"retry-after": "17"}, 17),
    "something left": ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "50s"}, 0),
    "no word when": ({"x-ratelimit-remaining-req-minute": "0"}, 0),
    **{
        f"reset {odd!r}": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": odd}, 0)
        for odd in ("", "0", "0s", "-5s", "nan", "inf", "1e9", "soon", "s", "5x", "1,5s", "1 s", "\u0661s", "9" * 400)
    },
    **{
        f"reset {odd!r}": ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": odd}, 0)
        for odd in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00", "2026-13-99T00:00:00Z", "0001-01-01T00:00:00+23:59")
    },
    "Retry-After, odd": ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
}


@pytest.mark.parametrize("case", HELD)
def test_while_nothing_remains_nothing_is_sent(case, run):
    headers, seconds = HELD[case]
    assert run(next_sent(lambda rates: rates.learn("openai", headers))) == pytest.approx(seconds)


@pytest.mark.parametrize("which", ["requests", "tokens", "input-tokens", "output-tokens"])
def test_anthropic_names_the_moment_itself(which, run):
    names = [f"anthropic-ratelimit-{which}-{what}" for what in ("remaining", "reset")]
    headers = dict(zip(names, ("0", moment(25)), strict=True))
    assert run(next_sent(lambda rates: rates.learn("openai", headers))) == pytest.approx(25, abs=5)


@pytest.mark.parametrize(
    ("seconds", "held"),
    [(5, 5), (0.5, 0.5), (1e9, 120), *((odd, 0) for odd in (None, 0, -3, math.nan, math.inf, -math.inf))],
)
def test_a_vendor_is_held_for_everyone_but_never_for_long(seconds, held, run):
    assert run(next_sent(lambda rates: rates.hold("openai", seconds))) == pytest.approx(held)


async def next_sent(happens):
    """When a request is sent after something happened, and that other vendors do not care."""
    rates = Rates()
    happens(rates)
    rates.hold("openai", 0.01)  # a shorter one afterwards shortens nothing
    async with rates.turn("mistral", 1):
        assert clock.now() == 0
    async with rates.turn("openai", 1):
        return clock.now() if clock.now() > 0.011 else 0


# headers -> how many of ten requests of 100 tokens each are sent at once, where 8 requests a minute were set
TOLD = {
    "nothing": ({}, 8),
    "fewer requests": ({"x-ratelimit-limit-requests": "3"}, 3),
    "more requests": ({"x-ratelimit-limit-requests": "500"}, 8),
    "fewer tokens": ({"x-ratelimit-limit-tokens": "450"}, 4),
    "Anthropic's": ({"anthropic-ratelimit-requests-limit": "5", "anthropic-ratelimit-tokens-limit": "10000"}, 5),
    "a part of the tokens": ({"anthropic-ratelimit-output-tokens-limit": "200"}, 8),
    "Mistral's": ({"x-ratelimit-limit-req-minute": "4", "x-ratelimit-limit-tokens-minute": "200"}, 2),
    "Mistral's older": ({"ratelimitbysize-limit": "300", "x-ratelimitbysize-limit-minute": "200"}, 2),
    "less than one takes": ({"x-ratelimit-limit-tokens": "99"}, 1),
    "of a month": ({"x-ratelimitbysize-limit-month": "2", "x-ratelimit-limit-requests-day": "1"}, 8),
    **{
        f"limit {odd!r}": ({"x-ratelimit-limit-requests": odd, "x-ratelimit-limit-tokens": odd}, 8)
        for odd in ("0", "", "-1", "none", "1e1", "2.5", "nan", "3, 3;w=60", "\u0663", "0x2", "1_0", "9" * 400)
    },
}


@pytest.mark.parametrize("case", TOLD)
def test_a_vendors_own_limit_counts_where_it_is_lower(case, run):
    headers, at_once = TOLD[case]
    vendor = Vendor(Rates({"openai": Rate(requests=8)}))
    vendor.rates.learn("openai", headers)
    run(together(*(vendor.ask(reserved=100) for _ in range(10))))
    assert sum(when == 0 for _, when in vendor.sent) == at_once
    assert len(vendor.sent) == 10, "none waits for ever"


def test_the_last_word_of_a_vendor_counts(run):
    vendor = Vendor(Rates())
    for most in ("1", "7", "3"):
        vendor.rates.learn("openai", {"x-ratelimit-limit-requests": most})
    run(together(*(vendor.ask() for _ in range(6))))
    assert sum(when == 0 for _, when in vendor.sent) == 3
