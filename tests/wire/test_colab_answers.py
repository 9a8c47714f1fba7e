"""Google Colab's free models answer: a function that blocks and a thread, against a stand-in of its package."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections import Counter

import pytest

import moa_helpers as moa
from moa_helpers import calls
from tests.wire.conftest import GOOGLE_COLAB

GEMINI, GEMMA = "colab:google/gemini-2.5-flash", "colab:google/gemma-3-27b-it"


class ProxyError(Exception):
    """What the SDK within google.colab.ai raises when the proxy refuses."""

    def __init__(self, status_code, message):
        super().__init__(message)
        self.status_code, self.body = status_code, {"message": message}


def test_an_answer(colab, run):
    moa.setup("live")
    reply = run(moa.ask(GEMINI, "Hello?"))
    assert (reply.text, reply.ok) == ("google/gemini-2.5-flash says: hello.", True)
    assert (reply.finish_reason, reply.truncated, len(reply.attempts)) == ("stop", False, 1)
    assert (reply.input_tokens, reply.output_tokens, reply.cost_usd) == (None, None, 0.0)
    assert not reply.offline
    assert 0 <= reply.ttft <= reply.elapsed
    assert colab.ai.asked == [("Hello?", "google/gemini-2.5-flash")]


def test_the_system_message_goes_in_front_of_the_prompt(colab, run):
    moa.setup("live")
    assert run(moa.ask(GEMINI, "Hello?", system="Be brief.")).ok
    ((prompt, _),) = colab.ai.asked
    assert prompt == "# Instructions\n\nBe brief.\n\n# The message to answer\n\nHello?"


def test_a_mixture_streams_piece_by_piece_and_costs_nothing(colab, run, monkeypatch):
    moa.setup("live")
    seen = threading.Event()  # a model goes on only when its first piece has been seen

    def answer(prompt, model_name):
        yield "First"
        assert seen.wait(60)
        yield " and last."

    async def watch():
        deltas = []
        async for event in moa.stream_mixture("Why?", [GEMINI, GEMMA], aggregator=GEMINI, budget_usd=0.01):
            if isinstance(event, moa.ProposerDelta | moa.AggregatorDelta):
                deltas.append(event.text)
                seen.set()
        return deltas, event.answer

    monkeypatch.setattr(colab.ai, "answer", answer)
    deltas, mixed = run(watch())
    assert Counter(deltas) == {"First": 3, " and last.": 3}
    assert (mixed.outcome, mixed.text, mixed.cost_usd) == ("complete", "First and last.", 0.0)
    assert sorted(model for _, model in colab.ai.asked) == ["google/gemini-2.5-flash"] * 2 + ["google/gemma-3-27b-it"]


def test_a_call_that_is_stopped_returns_at_once_and_its_thread_ends_with_the_next_piece(colab, run, monkeypatch):
    moa.setup("live")
    go, closed, heard, stream = threading.Event(), threading.Event(), [], calls.stream

    def answer(prompt, model_name):
        try:
            yield "First"
            go.wait(60)
            for number in range(1000):
                written.append(number)
                yield f" {number}"
        finally:
            closed.set()

    async def listening(request):
        async for chunk in stream(request):
            yield chunk
            heard.append(chunk)  # and the call has taken it

    async def stop_after_the_first_piece():
        asking = asyncio.create_task(moa.ask(GEMINI, "Why?"))
        while not heard:
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asking
        return caught.value.replies[0]

    written = []
    monkeypatch.setattr(colab.ai, "answer", answer)
    monkeypatch.setattr(calls, "stream", listening)
    reply = run(stop_after_the_first_piece())
    assert (reply.text, reply.abandoned, reply.cost_usd) == ("First", True, 0.0)
    assert not closed.is_set(), "it was waited for"
    go.set()
    assert closed.wait(60)
    assert written == [0]


@pytest.mark.slow
def test_a_call_that_hangs_keeps_no_process_alive():
    code = (
        "import threading, moa_helpers as moa; from google.colab import ai\n"
        "ai.answer = lambda prompt, model_name: (threading.Event().wait() for _ in '1')\n"
        f"moa.setup('live'); print(moa.run(moa.ask({GEMINI!r}, 'Hello?', timeout=0.2, retries=0)).failure.kind)"
    )
    paths = os.pathsep.join([*sys.path, str(GOOGLE_COLAB)])
    command, variables = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": paths}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert (ended.stdout.strip(), ended.returncode) == ("timeout", 0), ended.stderr


# What the module raises, the kind of failure that it is, and how often it is asked
WRONG = [
    (ProxyError(429, "Quota exceeded for this hour."), "rate_limit", 2),
    (ProxyError(503, "The model is overloaded."), "overloaded", 2),
    (ProxyError(404, "No such model."), "not_found", 1),
    (RuntimeError("Something else."), "unexpected", 1),
]


def test_what_goes_wrong_is_explained(colab, run, monkeypatch):
    moa.setup("live")
    monkeypatch.setattr(random, "uniform", lambda least, most: 0.0)  # no pauses
    for error, kind, attempts in WRONG:
        for pieces in ([], ["Half an "]):

            def answer(prompt, model_name, error=error, pieces=pieces):
                yield from pieces
                raise error

            monkeypatch.setattr(colab.ai, "answer", answer)
            reply = run(moa.ask(GEMINI, "Hello?", retries=1))
            assert (reply.failure.kind, len(reply.attempts)) == (kind, attempts)
            assert str(error) in reply.failure.message
            assert reply.text == "".join(pieces)


def test_an_error_before_the_first_piece_and_an_empty_answer(colab, run, monkeypatch):
    moa.setup("live")
    monkeypatch.setattr(colab.ai, "answer", lambda prompt, model_name: (piece for piece in [None, ""]))
    assert run(moa.ask(GEMINI, "Hello?")).failure.kind == "empty"
    monkeypatch.setitem(colab.userdata.secrets, "MODEL_PROXY_API_KEY", colab.userdata.NotebookAccessError)
    monkeypatch.delenv("MODEL_PROXY_API_KEY")
    assert "does not have access to secret" in run(moa.ask(GEMINI, "Hello?")).failure.message


def test_the_key_of_the_proxy_never_shows(colab, run, monkeypatch):
    token = colab.userdata.secrets["MODEL_PROXY_API_KEY"]

    def answer(prompt, model_name):
        raise ProxyError(401, f"{token} has expired")
        yield

    monkeypatch.setattr(colab.ai, "answer", answer)
    settings = moa.setup("live")
    reply = run(moa.ask(GEMINI, "Hello?"))
    assert os.environ["MODEL_PROXY_API_KEY"] == token
    assert "[key] has expired" in reply.failure.message
    shown = str(settings) + repr(settings) + settings._repr_html_() + str(moa.connection("colab"))
    assert token not in shown + str(reply) + repr(reply) + reply._repr_html_()


def test_outside_colab_they_are_refused_before_any_call(live, recorder, models, run):
    assert live.colab_models == ()
    for call in (moa.ask(GEMINI, "Hello?"), moa.fan_out([*models, GEMINI], "Hello?")):
        with pytest.raises(ImportError, match=r"only on Google Colab.*moa\.setup\('offline'\)"):
            run(call)
    assert not recorder.requests


def test_offline_a_stand_in_answers_for_them(colab, run, question, vendors):
    moa.setup()
    reply = run(moa.ask(GEMINI, question))
    assert reply.ok
    assert reply.offline
    assert reply.cost_usd == 0.0
    assert reply.output_tokens > 0
    assert dict(vendors.asked) == {GEMINI: 1}
    assert not colab.ai.asked


def test_they_take_no_temperature(colab, run):
    moa.setup("live")
    with pytest.raises(ValueError, match=r"takes no temperature \(google\.colab\.ai cannot pass one on\): leave"):
        run(moa.ask(GEMINI, "Hello?", temperature=0.5))
    assert not colab.ai.asked


def test_a_conversation_is_one_text_for_a_function_that_takes_no_more(colab, run):
    moa.setup("live")
    talk = [("user", "Hello?"), ("assistant", "Hi.\n# Instructions"), ("user", "Who are you?")]
    assert run(moa.ask(GEMINI, [{"role": role, "content": text} for role, text in talk], system="Be brief.")).ok
    ((prompt, _),) = colab.ai.asked
    assert prompt.split("\n\n") == [
        "# Instructions",
        "Be brief.",
        "# The conversation before",
        '[{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi.\\n# Instructions"}]',
        "# The message to answer",
        "Who are you?",
    ]
