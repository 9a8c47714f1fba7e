"""The FastAPI endpoint that notebook 10 shows: docs/examples/fastapi_app.py, served by uvicorn as in production."""

import http.client
import json
import runpy
import threading
from pathlib import Path

import pytest
import uvicorn

from moa_helpers import offline
from moa_helpers.vendors import streams
from tests.notebooks.cells import PATHS, read
from tests.support.waiting import wait_until

APP = Path(__file__).parents[2] / "docs/examples/fastapi_app.py"


@pytest.fixture
def service(models, monkeypatch, request):
    """The application, started; its address. At the end it has shut down as it should.

    It has one place. A request waits for it for a minute, or for as many seconds as the test says.
    """
    monkeypatch.setenv("MODELS", " ".join(models))
    monkeypatch.setenv("AGGREGATORS", " ".join(models[:2]))
    monkeypatch.setenv("AT_ONCE", "1")
    monkeypatch.setenv("LONGEST_WAIT", getattr(request, "param", "60"))
    monkeypatch.setenv("MOA_MODE", "offline")
    before = len(streams._clients)
    config = uvicorn.Config(runpy.run_path(str(APP))["app"], port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive(), "it does not shut down"
    assert len(streams._clients) == before, "it left its clients open"


def ask(service, messages):
    """A connection on which a question has been sent."""
    connection = http.client.HTTPConnection(*service, timeout=60)
    connection.request("POST", "/answer", json.dumps(messages), {"Content-Type": "application/json"})
    return connection


def answered(connection):
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body


def test_it_answers_a_conversation_and_refuses_what_is_none(service, question, vendors):
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello. What is it?"}]
    status, body = answered(ask(service, [*turns, {"role": "user", "content": question}]))
    assert (status, body["outcome"], body["heading"]) == (200, "complete", "synthesised from 3 of 3")
    assert body["text"]
    assert vendors.asked.total() == 4
    status, body = answered(ask(service, turns))
    assert (status, "must end with a message of the user" in body["detail"]) == (422, True)
    assert vendors.asked.total() == 4, "what is refused is refused before any call"


def test_a_client_that_leaves_cancels_the_calls_and_the_next_is_answered(service, question, models, vendors):
    with offline.fault("*", "hang"):
        connection = ask(service, [{"role": "user", "content": question}])
        wait_until(lambda: vendors.under_way == len(models))
        assert vendors.under_way == len(models)
        connection.close()
        wait_until(lambda: not vendors.under_way)
        assert not vendors.under_way, "calls go on for a client that has left"
    status, body = answered(ask(service, [{"role": "user", "content": question}]))
    assert (status, body["outcome"]) == (200, "complete")


def test_one_more_request_than_there_are_places_waits_its_turn(service, question, models, vendors, monkeypatch):
    """One place: the calls of two mixtures are never under way together, though both questions come at once."""
    seen = []

    def noted(self, number):
        self.__dict__["under_way"] = number
        seen.append(number)

    at_once = property(lambda self: self.__dict__["under_way"], noted)
    monkeypatch.setattr(type(vendors), "under_way", at_once, raising=False)
    monkeypatch.setattr(vendors, "speed", 20)
    asked = [ask(service, [{"role": "user", "content": question}]) for _ in range(2)]
    assert [answered(connection)[0] for connection in asked] == [200, 200]
    assert len(models) <= max(seen) < 2 * len(models)  # a call that has answered may still count as under way


def test_the_second_aggregator_answers_where_the_first_fails(service, question, models):
    with offline.fault(models[0], 401):
        _, body = answered(ask(service, [{"role": "user", "content": question}]))
    assert body["text"]
    assert models[0] in body["heading"], "it says who failed"


def test_a_mixture_without_an_answer_is_no_success(service, question):
    with offline.fault("*", 401):
        status, body = answered(ask(service, [{"role": "user", "content": question}]))
    assert status == 502
    assert "failed" in body["detail"], "it says why"


@pytest.mark.parametrize("service", ["0"], indirect=True)
def test_who_waits_too_long_for_a_place_is_sent_away_and_the_place_is_free_again(service, question, models, vendors):
    messages = [{"role": "user", "content": question}]
    with offline.fault("*", "hang"):
        first = ask(service, messages)
        wait_until(lambda: vendors.under_way == len(models))
        assert vendors.under_way == len(models), "the first has its place, and the time to wait no longer counts"
        status, body = answered(ask(service, messages))
        assert (status, body["detail"]) == (503, "Too many requests. Try again later.")
        assert vendors.under_way == len(models), "it made no call, and stopped none"
        first.close()
        wait_until(lambda: not vendors.under_way)
    statuses = [503]
    wait_until(lambda: statuses.append(answered(ask(service, messages))[0]) or statuses[-1] != 503)
    assert statuses[-1] == 200


def test_it_is_what_notebook_10_shows():
    shown = "".join(cell.source for path in PATHS if path.stem.startswith("10-") for cell in read(path).markdown)
    assert f"```python\n{APP.read_text(encoding='utf-8')}```" in shown
