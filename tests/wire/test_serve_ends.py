"""How requests and servers end: clients that hang up, drains, signals; and what is logged of it all."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.mixture import run_mixture
from moa_helpers.serve import service
from moa_helpers.store.answers import Answers
from moa_helpers.vendors.secrets import remember
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL
from tests.support.serving import PANEL, PATHS, asking, post, serving, until
from tests.support.waiting import wait_until

CHAT = PATHS[0]
PATIENT = PANEL | {"timeout": 600.0}


@pytest.fixture
def logged(caplog):
    """What the server has logged: one JSON object a request."""
    caplog.set_level(logging.INFO, "moa_helpers.serve")
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "moa_helpers.serve"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_all_calls(stream, run, vendors, question, logged):
    """While the proposers are at work: nothing of it goes on."""

    async def exchange():
        async with serving(PATIENT) as (server, client):
            with offline.fault("*", "hang"):
                for path in PATHS:
                    asked = asyncio.create_task(post(client, path, asking(path, question, stream=stream)))
                    await until(lambda: vendors.under_way == 3)
                    asked.cancel()
                    await asyncio.wait([asked])
                    await until(lambda: vendors.under_way == server.gate.under_way == 0)

    run(exchange())
    assert [(one["status"], one["calls"], one["cost_usd"]) for one in logged()] == [(499, 3, None)] * 3


def test_a_client_that_hangs_up_in_the_middle_of_the_answer(run, vendors, question, logged):
    async def exchange():
        async with serving(PATIENT) as (server, client):
            with offline.fault(SOL, "stalled_stream"):
                for path in PATHS:
                    async with client.post(path, json=asking(path, question, stream=True)) as answer:
                        await answer.content.readany()
                        await until(lambda: vendors.under_way == 1)
                        answer.close()
                    await until(lambda: vendors.under_way == server.gate.under_way == 0)

    run(exchange())
    assert [(one["status"], one["calls"]) for one in logged()] == [(499, 4)] * 3


def test_a_client_that_does_not_read_on_has_hung_up(run, vendors, question, logged, monkeypatch):
    async def never(response, events):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(service, "PATIENCE", 0.01)
    monkeypatch.setattr(service.web.StreamResponse, "write", never)

    async def exchange():
        async with serving(PATIENT) as (server, client):
            for path in PATHS:
                asked = asyncio.create_task(post(client, path, asking(path, question, stream=True)))
                with pytest.raises(aiohttp.ClientError):
                    await asked
                await until(lambda: vendors.under_way == server.gate.under_way == 0)

    run(exchange())
    assert [one["status"] for one in logged()] == [499] * 3


def test_the_end_of_the_block_waits_for_what_is_under_way(run, question, monkeypatch):
    tables = {"mixtures": {"panel": PANEL}, "server": {"port": 0}}

    async def exchange():
        async def late(plan, listen):
            await until(lambda: server.gate.draining)
            return await run_mixture(plan, listen)

        monkeypatch.setattr(service, "run_mixture", late)
        async with aiohttp.ClientSession() as client:
            async with moa.serve(tables) as server:
                url = f"{server.url}{CHAT}"
                asked = asyncio.create_task(post(client, url, asking(CHAT, question)))
                await until(lambda: server.gate.under_way)
            with pytest.raises(aiohttp.ClientConnectionError):
                await post(client, url, {})
            return await asked

    status, _, body = run(exchange())
    assert (status, body["moa"]["outcome"]) == (200, "complete")


def test_what_does_not_end_is_broken_off(run, vendors, question):
    async def exchange():
        tables = {"mixtures": {"panel": PATIENT}, "server": {"port": 0, "drain_seconds": 0.05}}
        async with aiohttp.ClientSession() as client:
            with offline.fault("*", "hang"):
                async with moa.serve(tables) as server:
                    asked = asyncio.create_task(post(client, f"{server.url}{CHAT}", asking(CHAT, question)))
                    await until(lambda: vendors.under_way == 3)
                await until(lambda: vendors.under_way == 0)
            with pytest.raises(aiohttp.ClientConnectionError):
                await asked

    run(exchange())


def test_an_error_in_the_block_ends_the_server(run):
    async def exchange():
        with pytest.raises(ZeroDivisionError):
            async with serving() as (server, _):
                raise ZeroDivisionError
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientConnectionError):
                await post(client, f"{server.url}{CHAT}", {})

    run(exchange())


def test_what_keeps_a_server_from_its_start(run):
    tables = {"mixtures": {"panel": PANEL}}

    async def exchange():
        for settings, error, words in (
            ({"host": "no.such.host.invalid", "token": "any"}, OSError, "Cannot listen at no.such.host.invalid, port"),
            ({"store": "no/such/folder.sqlite"}, OSError, "folder.sqlite"),
            ({"store": ".env", "port": 0}, ValueError, ".env"),
            ({"prot": 1}, ValueError, r"\[server\] takes host, port"),
        ):
            with pytest.raises(error, match=words):
                await moa.serve(tables, **settings).__aenter__()

    Path(".env").write_text("MOA_X=1\n")
    run(exchange())


def test_what_is_logged(run, question, logged):
    """A line a request, which holds no text and no key."""
    key = remember("sk-this-is-the-key-of-a-client")
    secret = "My secret is blue."

    async def exchange():
        async with serving() as (_, client):
            headers = {"authorization": f"Bearer {key}"}
            await post(client, CHAT, asking(CHAT, question, user=secret), **headers)
            await post(client, CHAT, asking(CHAT, secret, stop=secret), **headers)
            await post(client, CHAT, asking(CHAT, secret) | {"model": secret}, **headers)
            await post(client, f"/v1/{key}", {}, **headers)
            with offline.fault("*", 401):
                await post(client, CHAT, asking(CHAT, secret), **headers)

    run(exchange())
    lines = logged()
    assert [line["status"] for line in lines] == [200, 400, 404, 404, 502]
    assert len({line["id"] for line in lines}) == 5
    assert "secret" not in str(lines).lower()
    assert key not in str(lines)
    well, *_, last = lines
    assert (well["mixture"], well["outcome"], well["calls"], well["path"]) == ("panel", "complete", 4, CHAT)
    assert well["cost_usd"] > 0
    assert min(well["seconds"], well["input_tokens"], well["output_tokens"]) > 0
    assert last["failed"] == dict.fromkeys(PANEL["reference_models"], "authentication")


def test_an_error_of_ours_is_said_in_the_format_and_logged_without_texts(run, question, logged, monkeypatch):
    async def fails(plan, listen):
        raise LookupError(question)

    monkeypatch.setattr(service, "run_mixture", fails)

    async def exchange():
        async with serving() as (_, client):
            return [await post(client, path, asking(path, question, stream=path != CHAT)) for path in PATHS]

    for status, headers, body in run(exchange()):
        assert status == 500
        assert "The server failed (LookupError)" in body["error"]["message"]
        assert question not in str(body)
        assert headers.get("x-request-id") or headers.get("request-id")
    for line in logged():
        assert re.fullmatch(r"LookupError in fails, .*test_serve_ends.py:\d+", line["error"])


# As a program


def written(tmp_path, **server):
    settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in server.items())
    panel, stuck = (
        f'[mixtures.{name}]\nreference_models = ["{model}"]\naggregator = "{model}"\ntimeout = 600.0\n'
        for name, model in (("panel", LUNA), ("stuck", SMALL))
    )
    (tmp_path / "mixture.toml").write_text(f"[server]\n{settings}\n{panel}\n{stuck}")


@pytest.fixture
def program(tmp_path):
    """Start ``python -m moa_helpers.serve mixture.toml``: the process, and the first line that it prints."""
    begun = []

    def start(*arguments, **variables):
        command = [sys.executable, "-m", "moa_helpers.serve", "mixture.toml", *arguments]
        strict = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error", "MOA_OFFLINE_SPEED": "1000"}
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(command, cwd=tmp_path, env=os.environ | strict | variables, **piped))
        return begun[-1], begun[-1].stdout.readline()

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def address(said):
    return re.search(r"http://[\d.:]+", said)[0]


def send(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=60)


def status_of(url, body=None):
    try:
        with send(url, body) if body else urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def stuck_at(url, question):
    """A connection whose request waits for a model that never answers."""
    place = url.removeprefix("http://").split(":")
    asked = json.dumps(asking(CHAT, question) | {"model": "stuck"}).encode()
    with socket.create_connection((place[0], int(place[1]))) as connection:
        connection.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(asked)}\r\n\r\n".encode() + asked
        )
        yield


def test_a_signal_drains(tmp_path, program, question):
    """What is under way ends well, what is new is refused, and then the program ends."""
    written(tmp_path, port=1, drain_seconds=600)
    process, said = program("--port", "0", MOA_OFFLINE_FAULTS="mistral=hang")
    assert re.fullmatch(r"Serving panel, stuck at \S+ \(offline stand-ins\); Ctrl-C ends it\n", said)
    url = address(said)
    with stuck_at(url, question):
        wait_until(lambda: status_of(f"{url}/health") == (200, {"status": "ok", "under_way": 1}))
        with send(url + CHAT, asking(CHAT, question, stream=True)) as answer:
            assert answer.readline()
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: status_of(f"{url}/health")[0] == 503)
            assert status_of(f"{url}/health")[1]["status"] == "draining"
            status, body = status_of(url + CHAT, asking(CHAT, question))
            assert (status, body["error"]["message"]) == (503, "The server is shutting down: ask another one.")
            assert answer.read().endswith(b"data: [DONE]\n\n")
        assert process.poll() is None
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    statuses = [json.loads(line)["status"] for line in errors.splitlines() if '"path": "/v1' in line]
    assert statuses == [503, 200, 499] or statuses == [200, 503, 499]


def test_the_program_refuses_in_one_line(tmp_path, program):
    written(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, variables, words in (
            (["--port", port], {}, f"Cannot listen at 127.0.0.1, port {port}: "),
            ([], {"MOA_MODE": "live"}, "mixture.toml: [mixtures.panel]: No key for openai"),
        ):
            process, said = program(*arguments, **variables)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, said) == (2, "")
            assert errors.count("\n") == 1, errors
            assert words in errors


@pytest.mark.slow
def test_a_kill_pays_for_nothing_twice(tmp_path, program, question):
    """What was answered when it was killed comes from the store."""
    written(tmp_path, port=0, store="answers.sqlite", progress=True)
    with (tmp_path / "mixture.toml").open("a") as file:
        file.write(f'[mixtures.both]\nreference_models = ["{LUNA}", "{HAIKU}"]\naggregator = "{SMALL}"\n')
    asked = asking(CHAT, question) | {"model": "both"}
    process, said = program(MOA_OFFLINE_FAULTS="mistral=hang")
    with send(address(said) + CHAT, asked | {"stream": True}) as answer:
        while "Layer 1: " not in (first := answer.readline().decode()):
            assert first
        while "Layer 1: " not in (second := answer.readline().decode()):
            assert second
        process.kill()
    spent = []
    for kept in (2, 3):
        process, said = program()
        status, body = status_of(address(said) + CHAT, asked)
        assert (status, body["moa"]["calls"], body["moa"]["kept"]) == (200, 3, kept)
        spent.append(body["moa"]["cost_usd"])
        process.kill()
    assert spent[0] > 0 == spent[1]
    with closing(Answers(tmp_path / "answers.sqlite")) as store:
        all_spent = store.spent_since(0.0)
    assert all_spent > spent[0]


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(tmp_path, program, question):
    written(tmp_path, port=0, drain_seconds=600)
    process, said = program(MOA_OFFLINE_FAULTS="mistral=hang")
    url = address(said)
    with stuck_at(url, question):
        wait_until(lambda: status_of(f"{url}/health")[1]["under_way"] == 1)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: status_of(f"{url}/health")[0] == 503)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
