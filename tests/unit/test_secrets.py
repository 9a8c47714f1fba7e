"""Keys and passwords: in no text, no repr, no traceback with local variables, no copy and no pickle."""

import asyncio
import base64
import copy
import dataclasses
import json
import pickle
import pprint
import time
import traceback
import types
from urllib.parse import quote, quote_plus

import pytest
from IPython.lib.pretty import pretty

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.vendors import local, secrets, streams
from moa_helpers.vendors.secrets import Key, redact, remember, remember_logins

KEY = 'Zq7/+ x"é\\key'  # all that may be quoted


@pytest.fixture(autouse=True)
def _nothing_used(monkeypatch):
    monkeypatch.setattr(secrets, "_used", {})


def test_a_key_is_hidden_however_it_is_written():
    remember(KEY)
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    for form in (
        *(KEY, KEY.upper(), KEY.lower(), quote(KEY), quote(KEY, safe="").lower(), quote_plus(KEY), basic),
        *(json.dumps(KEY)[1:-1], json.dumps(KEY, ensure_ascii=False)[1:-1], KEY.replace("/", "\\/")),
        *(KEY.replace(" ", blank) for blank in ("  ", "\t", "\n", "\r\n", "\\n", "\xa0")),
    ):
        assert redact(f"The key >{form}< is wrong.") == "The key >[key]< is wrong.", form


def test_every_key_is_remembered_and_the_longest_goes_first():
    for key in ("abcdefgh", "abcdefghijkl", "12345678"):
        remember(key)
    assert redact("abcdefghijkl abcdefgh 12345678") == "[key] [key] [key]"


def test_a_short_text_is_no_key():
    for key in ("", "a", "test", "EMPTY"):
        remember(key)
    assert redact("a test, EMPTY") == "a test, EMPTY"


def test_what_looks_like_a_key_is_hidden():
    for text in ("Bearer abc", "bearer abcdef012", "BASIC am9lOnMzY3JldA==", "sk-abcdef", "gsk_abcdef"):
        assert redact(f"no: {text} !") == "no: [key] !"
    assert redact("http://joe:pw@host/v1, ftp://t@k@h") == "http://[key]@host/v1, ftp://[key]@h"
    assert redact("GET /v1?a=1&api_key=abc, not basic authentication") == "GET /v1?a=1&[key], not basic authentication"


def test_plain_words_are_no_keys():
    for text in (
        "sky-blue task-oriented key-value-store",
        "hf_transfer, key_variable_name",
        "use Bearer authentication",
    ):
        assert redact(text) == text


def test_long_texts_and_many_keys_are_no_hindrance():
    for number in range(100):
        remember(f"{number:03}" * 12 + '"/é')
    began = time.process_time()
    for text in ("key-" * 100_000, "a1b2" * 100_000, "://" * 100_000, "Bearer " * 50_000, "basic " + "x" * 400_000):
        redact(text)
    assert time.process_time() - began < 5  # seconds; 1 on a slow machine, 13 if every form of each key is looked for


def test_a_key_that_is_no_unicode_hides_like_any():
    remember("abcdefgh\udcff")
    assert redact("abcdefgh\udcff!") == "[key]!"


def test_logins_in_addresses():
    address = remember_logins("http://joe:pass%2Fword@one:80/v1,token-of-joe@two")
    assert address == "http://joe:pass%2Fword@one:80/v1,token-of-joe@two"
    basic = base64.b64encode(b"joe:pass/word").decode()
    assert redact(f"pass/word PASS%2FWORD {basic} token-of-joe") == "[key] [key] [key] [key]"
    assert redact("joe") == "joe"


def test_a_key_does_not_show_itself():
    key = Key("k" * 100)
    for way in (repr, pretty, pprint.pformat, lambda key: repr(key[:80]), lambda key: repr({"key": [key]})):
        assert "kkk" not in way(key)
    assert repr(Key("http://joe:password@host/v1")) == "'http://[key]@host/v1'"
    assert f"{key}" == "k" * 100
    assert copy.deepcopy([key, Key("http://joe:password@host")]) == [key, "http://joe:password@host"]
    assert pickle.loads(pickle.dumps([key, Key("http://joe:password@host")])) == [key, "http://[key]@host"]


def test_settings_hold_no_key_for_those_who_look_inside(monkeypatch):
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: ((), []))
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://joe:dummy-word@host/v1")
    monkeypatch.setenv("MY_DATABASE", "dummy-of-mine")
    settings = moa.setup("live")
    inside = [vars(settings), dataclasses.asdict(settings), copy.deepcopy(settings), dataclasses.replace(settings)]
    for shown in (
        *map(repr, inside),
        str(settings),
        pickle.dumps(settings).decode("latin-1"),
        repr(vars(settings._values)),
    ):
        assert "dummy" not in shown
        assert "MY_DATABASE" not in shown
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert moa.connection("openai") == {"api_key": "dummy-of-openai", "base_url": "https://joe:dummy-word@host/v1"}
    assert "dummy" not in repr(moa.connection("openai"))


def test_tracebacks_with_local_variables_show_no_key(monkeypatch):
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: ((), []))
    monkeypatch.setattr(offline, "start", lambda values: types.SimpleNamespace(url="http://127.0.0.1:1"))
    key = "dummy-of-openai"

    async def asked():
        streams.client(moa.find("openai:gpt-6-luna"))

    for variables, act in (
        ({"OPENAI_API_KEY": key, "GROQ_API_KEY": f"“{key}”"}, moa.setup),
        ({"OPENAI_API_KEY": key, "MOA_MODE": "live"}, lambda: moa.connection("groq")),
        ({"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"http://joe:{key}@[bad"}, lambda: asyncio.run(asked())),
        ({"OPENAI_API_KEY": key, "HTTPS_PROXY": f"socks9://joe:{key}@h:1"}, lambda: asyncio.run(asked())),
        ({"OPENAI_API_KEY": key, "SSL_CERT_FILE": f"/no/{key[:5]}"}, lambda: asyncio.run(asked())),
        ({"MISTRAL_API_KEY": key, "MOA_OFFLINE_SEED": key}, lambda: moa.connection("nobody")),
    ):
        with monkeypatch.context() as here:
            for name, value in {"MOA_MODE": "live", **variables}.items():
                here.setenv(name, value)
            del name, value
            problem = None
            try:
                moa.setup()
                act()
            except ValueError as error:
                problem = error
            report = traceback.TracebackException.from_exception(problem, capture_locals=True)
            report.stack.pop(0)  # of this test itself
            words = "".join(report.format())
            assert key not in words, words
