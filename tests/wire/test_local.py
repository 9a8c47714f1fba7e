"""Servers on this machine are found, named and used; anything else on a port costs a moment only, and once."""

import json
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.vendors import local
from moa_helpers.vendors.looking import Look
from tests.support.pages import report
from tests.support.servers import answering, behaving, dropping

LISTS = {"/v1/models": {"object": "list", "data": [{"id": "tiny", "object": "model"}]}}
FEWEST = {  # what is the least that each answers
    "llama.cpp": ({"/v1/models": {"data": [{"id": "a b/llama.gguf"}]}}, {"protocol": "HTTP/1.0"}),
    "LM Studio": ({"/api/v0/models": {"data": [{"id": "studio", "type": "llm"}]}}, {}),
    "vLLM": ({"/v1/models": {"data": [{"id": "v"}], "error": None}}, {}),
    "Jan": ({"/v1/models": [{"id": "jan"}]}, {}),
    "Ollama": ({"/api/tags": "\ufeff" + json.dumps({"models": [{"name": "o:1b"}]})}, {}),
}
KINDS = {
    "llama.cpp": {
        "/v1/models": {"data": [{"id": "llama", "owned_by": "llamacpp", "meta": None}]},
        "/props": {"total_slots": 4, "default_generation_settings": {"n_ctx": 2048}},
    },
    "LM Studio": {
        "/v1/models": {"data": [{"id": "studio"}]},
        "/api/v1/models": {"models": [{"key": "studio", "type": "llm", "loaded_instances": []}]},
    },
    "vLLM": {"/v1/models": {"data": [{"id": "v", "owned_by": "vllm", "max_model_len": 512}]}},
    "Jan": {"/v1/models": {"data": [{"id": "jan"}]}},
    "Ollama": {"/v1/models": {"data": [{"id": "o", "owned_by": "library"}]}, "/api/tags": {"models": [{"name": "o"}]}},
}


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """No port is well known, no place is known to be silent, and a busy machine has time to answer."""
    monkeypatch.setattr(local, "TABLE", [row | {"ports": row["ports"] and "9"} for row in local.TABLE])
    monkeypatch.setattr(local, "_silent", {})
    monkeypatch.setattr(local, "PATIENCE", 20.0)
    monkeypatch.setattr("moa_helpers.vendors.looking.SLOWEST", 20.0)
    monkeypatch.delenv("OLLAMA_HOST")


@pytest.fixture
def waits(monkeypatch):
    """How long each look is to be waited for at most, in seconds after they began, on a clock that stands still.

    All but the first are waited for until they have ended.
    """
    kept, ended = [], Look.ended

    def waited(look, until):
        kept.append(until)
        return ended(look, time.monotonic() + (until if len(kept) == 1 else 20))

    def again():
        kept.clear()
        return kept

    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(Look, "ended", waited)
    return again


def rows_at(ports):
    return [row | {"ports": str(ports.get(row["software"], ""))} for row in local.TABLE]


def at(*ports):
    return {"LOCAL_BASE_URL": " ".join(f"127.0.0.1:{port}" for port in ports)}


def test_each_kind_of_server_is_found_at_its_port_and_named(monkeypatch):
    with ExitStack() as stack:
        ports = {name: stack.enter_context(answering(answers)) for name, answers in KINDS.items()}
        monkeypatch.setattr(local, "TABLE", rows_at(ports))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        found = moa.setup()
    assert [(each.software, each.place) for each in found.servers] == [
        (name, f"127.0.0.1:{port}") for name, port in ports.items()
    ]
    assert [*found.local_models] == ["local:llama", "local:studio", "local:v", "local:jan", "local:o"]
    assert found.mode == "offline"
    for name in KINDS:
        assert f"{name} at 127.0.0.1:" in report(found)


def test_the_fewest_words_suffice(run, monkeypatch):
    with ExitStack() as stack:
        ports = {name: stack.enter_context(answering(answers, **how)) for name, (answers, how) in FEWEST.items()}
        monkeypatch.setattr(local, "TABLE", rows_at(ports))
        found = moa.setup("live")
        assert [each.software for each in found.servers] == [*FEWEST]
        assert [*found.local_models] == ["local:a b/llama.gguf", "local:studio", "local:v", "local:jan", "local:o:1b"]
        assert all(reply.ok for reply in run(moa.fan_out([*found.local_models], "Why?")))
        run(moa.close())


def test_a_model_of_a_server_is_asked_and_costs_nothing(run, monkeypatch):
    with answering(LISTS) as port:
        monkeypatch.setenv("LOCAL_BASE_URL", f"localhost:{port}")
        monkeypatch.setenv("LOCAL_API_KEY", "dummy-local-key")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        moa.setup("live")
        reply = run(moa.ask("local:tiny", "Why?"))
        run(moa.close())
        assert (reply.text, reply.cost_usd, reply.input_tokens) == ("Blue.", 0.0, 12)
        ((headers, body),) = answering.asked
        assert headers["authorization"] == "Bearer dummy-local-key"
        assert (body["model"], body["stream_options"]) == ("tiny", {"include_usage": True})
        with pytest.raises(moa.UnknownModel, match=r"No server on this machine lists local:large\. Found: local:tiny"):
            run(moa.fan_out(["local:tiny", "local:large"], "Why?"))
        assert len(answering.asked) == 1


def test_a_login_in_an_address_is_sent_and_not_shown(run, monkeypatch):
    with answering(LISTS) as port:
        monkeypatch.setenv("LOCAL_BASE_URL", f"http://me:secret-word@127.0.0.1:{port}")
        found = moa.setup("live")
        reply = run(moa.ask("local:tiny", "Why?"))
        run(moa.close())
    assert (reply.ok, answering.asked[0][0]["authorization"][:6]) == (True, "Basic ")
    assert "secret-word" not in f"{found}{found!r}{moa.connection('local')!r}"


def test_a_host_that_refuses_stream_options_is_not_sent_them(run):
    moa.setup("live")
    with answering({}) as port:
        moa.add_host("acme", f"http://127.0.0.1:{port}/v1", stream_options=False)
        reply = run(moa.ask("acme:any", "Why?"))
        run(moa.close())
    assert reply.ok
    assert "stream_options" not in answering.asked[0][1]


ODD_BODIES = [
    "[]",
    '{"data": 5}',
    '{"data": [{}]}',
    '{"data": ["x"]}',
    "<html>",
    "",
    "null",
    "[" * 100_000,
    '"\ud83d"',
    "9" * 9000,
]


def test_what_is_no_server_of_models_is_passed_over():
    for body in ODD_BODIES:
        with answering({"/v1/models": body}) as port:
            found, notes = local.find_servers(at(port))
        assert (found, len(notes)) == ((), 1), body[:20]
    huge = '{"data": [{"id": "tiny"}], "more": "' + "x" * 2**20 + '"}'
    with answering({"/v1/models": huge}) as port:
        assert local.find_servers(at(port))[0] == ()
    for status in (500, 404, 302, 204, 418):
        with answering(LISTS, status=status, headers={"location": "/elsewhere"}.items()) as port:
            assert local.find_servers(at(port))[0] == (), status


def test_a_server_that_wants_a_key_says_so_and_gets_it():
    with answering(LISTS, status=401) as port:
        found, (note,) = local.find_servers(at(port))
    assert found == ()
    assert "wants a key: set LOCAL_API_KEY" in note


def test_a_server_at_a_usual_port_that_cannot_answer_now_says_so(monkeypatch):
    refusal = {path: json.dumps({"error": {"message": "no"}}) for path in LISTS}
    for status, why in ((401, "wants a key: set VLLM_API_KEY to the right one"), (503, "as when it loads its model")):
        with answering(refusal, status=status) as port:
            monkeypatch.setattr(local, "TABLE", rows_at({"vLLM": port}))
            found, (note,) = local.find_servers({})
        assert found == ()
        assert note.startswith(f"vLLM?: http://127.0.0.1:{port}/v1 ")
        assert why in note
    for body, status in (("<html>", 401), ("{}", 503), (json.dumps({"error": "no"}), 404)):  # another program
        with answering({"/v1/models": body}, status=status) as port:
            monkeypatch.setattr(local, "TABLE", rows_at({"vLLM": port}))
            assert local.find_servers({}) == ((), ())


def test_garbage_on_a_port_is_passed_over():
    for pieces in (
        [b"SSH-2.0-Server\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n{"],
        [b"\x00" * 1000],
        [b"HTTP/1.1 99999 ?\r\n\r\n"],
    ):
        with behaving(*pieces) as port:
            assert local.find_servers(at(port))[0] == (), pieces


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SILENT = {
    "says nothing": lambda: behaving(waits=True),
    "drops packets": dropping,
    "never ends its head": lambda: behaving(HEAD, again=b"x: y\r\n"),
    "never ends its body": lambda: behaving(HEAD + b"\r\n", again=b" "),
    "promises more than it sends": lambda: behaving(HEAD + b"content-length: 99\r\n\r\n{", waits=True),
}


@pytest.mark.parametrize("how", SILENT)
def test_a_silent_port_is_waited_for_once(how, monkeypatch, waits):
    monkeypatch.setattr(local, "PATIENCE", 0.3)
    with SILENT[how]() as port, answering(LISTS) as other:
        asked = at(port, other, port) | {"LLAMA_ARG_PORT": str(port)}
        kept = waits()
        local.find_servers(asked)
        assert kept == [0.3] * 3, "one look at each place, and all end at the same time"
        kept = waits()
        local.find_servers(asked)
        assert kept == [0.05, 0.3, 0.3], "the first was waited for before"
        monkeypatch.setattr(local, "REMEMBERED", 0.0)  # a minute later
        kept = waits()
        local.find_servers(asked)
        assert kept[0] == 0.3


def test_a_look_that_gave_up_by_itself_found_silence_too(monkeypatch, waits):
    """As where this program was stopped meanwhile, and the look's own limit of time has passed first."""
    monkeypatch.setattr("moa_helpers.vendors.looking.SLOWEST", 0.01)
    with SILENT["says nothing"]() as port:
        for expected in (20.0, 0.05):
            kept = waits()
            local.find_servers(at(port))
            assert kept[0] == expected


def test_our_own_stand_ins_are_no_real_models(monkeypatch):
    with answering(LISTS, headers=[("x-moa-offline", "1")]) as port:
        found, (note,) = local.find_servers(at(port))
    assert found == ()
    assert "is a stand-in of this lesson" in note
    port = offline.start().url.rpartition(":")[2]
    monkeypatch.setattr(local, "TABLE", [row | {"ports": port} for row in local.TABLE])
    assert local.find_servers({})[0] == ()


def test_a_server_that_has_stopped_is_a_failure_that_says_where(run, monkeypatch):
    with answering(LISTS) as port:
        monkeypatch.setenv("LOCAL_BASE_URL", f"127.0.0.1:{port}")
        moa.setup("live")
    reply = run(moa.ask("local:tiny", "Why?", retries=0))
    run(moa.close())
    assert reply.failure.kind == "connection"
    assert f"127.0.0.1:{port}" in reply.failure.message
