"""A prompt that a server has cut without a word is noticed, and no honest count gives an alarm."""

import base64
import json
import random

import pytest

import moa_helpers as moa
from moa_helpers import catalogue
from moa_helpers.limits.cut import cut_warnings
from moa_helpers.vendors import local
from moa_helpers.vendors.requests import Request
from tests.support.scripts import answers

LOCAL = catalogue.find("ollama:qwen")
CHANCE = random.Random(5)
ENGLISH = "The moon pulls the ocean towards itself, and most coasts see two high tides a day because the Earth turns. "
GERMAN = (
    "Die Gezeitenreibung verlangsamt die Erdumdrehung um wenige Millisekunden je Jahrhundert, und Tage werden länger. "
)
CHINESE = "月球的引力把海水拉向自己，而地球在两个潮汐隆起之下转动，因此大多数海岸每天都会出现两次涨潮。"
CODE = (
    "def _bound(stage):\n    here = current().mode == 'live'\n    return tuple(replace(one, x=1) for one in stage)\n\n"
)

# text, characters that common tokenizers put into a token of it: the fewest and the most
HONEST = {
    "English": (ENGLISH * 60, 4.0, 5.0),
    "German": (GERMAN * 60, 3.0, 4.6),
    "Chinese": (CHINESE * 60, 0.7, 1.65),
    "code": (CODE * 60, 2.8, 4.0),
    "short words": ("a " * 6000, 2.0, 2.0),
    "one word": ("word " * 6000, 5.0, 5.0),
    "numbers": (" ".join(str(CHANCE.randint(0, 99999)) for _ in range(4000)), 1.0, 3.0),
    "blanks": (" " * 300_000 + "Why?", 16, 128),
    "lines": ("\n" * 100_000 + "Why?", 1, 32),
    "blank lines": (" \n" * 100_000 + "Why?", 1, 8),
    "one letter": ("a" * 100_000, 2, 64),
    "two letters": ("ha" * 50_000, 2, 5.5),
    "dashes": ("-" * 100_000, 4, 128),
    "digits": ("".join(CHANCE.choices("0123456789", k=30_000)), 1.0, 3.0),
    "base64": (base64.b64encode(CHANCE.randbytes(30_000)).decode(), 1.2, 4.0),
    "digest": (CHANCE.randbytes(20_000).hex(), 1.1, 4.0),
    "JSON": (json.dumps([{"id": n, "name": f"user{n}"} for n in range(900)], indent=2), 1.5, 3.2),
    "emoji": ("😀🎉" * 5000, 0.2, 1.0),
    "fences": ("```\n" * 9000, 1.3, 4.0),
    "Russian": ("Луна притягивает воду океанов, и на побережьях бывает два прилива в сутки. " * 60, 2.0, 4.2),
}
TOLD = ("English", "German", "code", "short words", "one word", "Chinese", "Russian")


def warned(text, counted, wrote=20, model=LOCAL, **more):
    return cut_warnings(Request(model, text, **more), counted, wrote)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_count_gives_no_alarm(name):
    text, fewest, most = HONEST[name]
    for characters in (fewest, (fewest + most) / 2, most):
        count = round(len(text) / characters) + 15
        assert not warned(text, count), (characters, count)


@pytest.mark.parametrize("name", TOLD)
def test_a_cut_prompt_is_noticed(name):
    text, _, most = HONEST[name]
    for kept in (0.5, 0.3, 0.01):
        (said,) = warned(text, max(1, round(len(text) / most * kept)))
        assert "OLLAMA_CONTEXT_LENGTH" in said


def test_the_warning_has_both_numbers_and_the_cure():
    (said,) = warned("word " * 6000, 2000)
    assert "reports 2,000 tokens for a prompt of about 6,000," in said
    assert "fewer or shorter references" in said


def test_numbers_that_add_up_to_a_usual_limit_make_it_more_likely():
    text = "word " * 6000
    for counted, wrote in ((4096, 20), (4000, 96), (4096, None)):
        assert bool(warned(text, counted, wrote)) is True
    for counted, wrote in ((4700, 20), (6001, 20), (8192, 20)):
        assert not warned(text, counted, wrote)
    assert warned("word " * 4900, 4096, 50)
    for cut in ("x" * 12_000, "word " * 2400, "1234 " * 2400, ENGLISH * 114, CODE * 109):
        assert warned(cut, 2048, 7)
    assert not warned("word " * 4900, 4090, 50)


def test_where_nobody_can_tell_there_is_no_warning():
    text = "word " * 6000
    for nothing in (None, 0):
        assert not warned(text, nothing)
    assert not warned("word " * 100, 5)  # short
    assert not warned(text, 20, offline=True)
    assert not warned(
        text, 20, model=catalogue.find("anthropic:claude-haiku-5-5")
    )  # leaves out what it had in its cache
    assert warned(text, 2000, model=catalogue.find("groq:openai/gpt-oss-20b"))
    assert warned("Why?", 2000, system=text)


def test_the_reply_and_the_heading_say_it(run, script, monkeypatch):
    servers = (local.Server("Ollama", "http://127.0.0.1:11434/v1", ("qwen",)),)
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: (servers, ()))
    moa.setup("live")
    script["local:qwen"] = lambda request: answers(
        "long words " * 2000, per_piece=0, tokens=(2048 if request.role == "aggregator" else 10, 90)
    )
    answer = run(moa.mixture_of_agents("Why?", ["local:qwen"] * 3, "local:qwen"))
    assert [reply.warnings for reply in answer.layers[0]] == [()] * 3
    assert "reports 2,048 tokens" in answer.aggregator.warnings[0]
    assert "local:qwen: The server reports 2,048 tokens" in answer.heading
    assert "reports 2,048 tokens" in str(answer.aggregator)
    assert "reports 2,048 tokens" in answer._repr_html_()
    script["local:qwen"] = lambda request: answers("Blue.", tokens=(2048, 90))
    replies = run(moa.fan_out(["local:qwen"], "long words " * 2000))
    assert "reports 2,048 tokens" in str(replies)
    assert "reports 2,048 tokens" in replies._repr_html_()
    twice = run(moa.mixture_of_agents("long words " * 2000, ["local:qwen"] * 3, "local:qwen"))
    assert twice.heading.count("local:qwen: The server reports") == 1
    assert moa.from_json(moa.to_json(answer)).aggregator.warnings == answer.aggregator.warnings
