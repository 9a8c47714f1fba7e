"""The contract with the vendors: what each SDK really puts on the wire, and that it can read what we send offline."""

import csv
import warnings
from importlib.resources import files

import anthropic.types
import mistralai.client.models
import openai.types.chat
import pytest
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

import moa_helpers as moa
from moa_helpers.catalogue import VENDORS
from moa_helpers.vendors import settings

ROWS = list(csv.DictReader((files("moa_helpers.catalogue") / "models.csv").read_text(encoding="utf-8").splitlines()))
LISTED = {f"{row['vendor']}:{row['model_id']}": row for row in ROWS}
UNLISTED = ["openai:new", "anthropic:new", "mistral:new", "ollama:llama3.2:3b", "vllm:org/model"]
SYSTEM, PROMPT = "Be brief.", "Why is the sky blue?"


@pytest.fixture
def ask(run):
    """Ask, even a model whose time is over."""

    def ask(model, **options):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was shut down on |The model .* is deprecated")
            return run(moa.ask(model, PROMPT, **options))

    return ask


@pytest.mark.parametrize("name", [*LISTED, *UNLISTED])
def test_request(name, live, recorder, ask):
    vendor_name, _, model_id = name.partition(":")
    reply = ask(name, system=SYSTEM, max_tokens=77)
    assert reply.ok, reply.failure
    (request,) = recorder.requests
    sent, headers = request["body"], request["headers"]
    anthropic = vendor_name == "anthropic"
    assert request["path"] == f"/{vendor_name}" + ("/v1/messages" if anthropic else "/v1/chat/completions")
    key = f"dummy-{vendor_name}" if VENDORS[vendor_name].key_variable else "none-needed"
    assert headers["Authorization"] == f"Bearer {key}"
    assert not [header for header in headers if header.lower().startswith("x-moa")]
    assert sent["model"] == model_id
    assert sent["stream"] is True
    assert "temperature" not in sent

    unlisted_parameter = "max_completion_tokens" if vendor_name == "openai" else "max_tokens"
    parameter = LISTED[name]["token_parameter"] if name in LISTED else unlisted_parameter
    assert {key: value for key, value in sent.items() if "max" in key} == {parameter: 77}

    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}
    assert sent["messages"] == ([user] if anthropic else [system, user])
    assert sent.get("system") == (SYSTEM if anthropic else None)
    if VENDORS[vendor_name].api == "openai":
        assert sent["stream_options"] == {"include_usage": True}
    else:
        assert "stream_options" not in sent


@pytest.mark.parametrize("name", [*LISTED, *UNLISTED])
def test_temperature(name, live, recorder, ask):
    vendor_name = name.partition(":")[0]
    accepts = LISTED[name]["accepts_temperature"] if name in LISTED else "yes"
    if accepts == "yes" and vendor_name != "anthropic":
        assert ask(name, temperature=0.3).ok
        assert recorder.requests[0]["body"]["temperature"] == 0.3
    else:
        with pytest.raises(ValueError, match=r"takes no temperature.*leave it out"):
            ask(name, temperature=0.3)
        assert not recorder.requests


def test_without_a_system_message_none_is_sent(models, live, recorder, run):
    run(moa.fan_out(models, PROMPT))
    for request in recorder.requests:
        assert request["body"]["messages"] == [{"role": "user", "content": PROMPT}]
        assert "system" not in request["body"]


def test_ask_live(models, live, ask):
    for name in models:
        reply = ask(name)
        assert (reply.text, reply.finish_reason, reply.failure) == ("Hello there.", "stop", None)
        assert (reply.input_tokens, reply.output_tokens) == (7, 3)
        assert reply.cost_usd == pytest.approx(moa.find(name).cost(7, 3))
        assert (reply.model, reply.answered_by) == (name, "served-" + name.partition(":")[2])
        assert 0 < reply.ttft <= reply.elapsed
        assert len(reply.attempts) == 1
        assert reply.offline is False
        assert "stand-in" not in str(reply)


def test_the_same_model_twice_is_asked_in_the_same_way_live(models, live, recorder, run):
    replies = run(moa.fan_out([models[0]] * 2, PROMPT))
    first, second = recorder.requests
    assert [reply.text for reply in replies] == ["Hello there."] * 2
    assert first["body"] == second["body"]
    assert not [header for header in second["headers"] if header.lower().startswith("x-moa")]


@pytest.mark.parametrize("place", range(3))
def test_mixture_live(place, models, live, recorder, run):
    aggregator = models[place]
    answer = run(moa.mixture_of_agents(PROMPT, models, aggregator))
    assert (answer.outcome, answer.text) == ("complete", "Hello there.")
    assert [reply.model for reply in answer.replies] == [*models, aggregator]
    assert answer.cost_usd == pytest.approx(sum(moa.find(name).cost(7, 3) for name in [*models, aggregator]))
    sent = recorder.requests[3]["body"]
    system = sent["system"] if "system" in sent else sent["messages"][0]["content"]
    assert system == moa.aggregator_system(answer.layers[0])
    assert sent["messages"][-1] == {"role": "user", "content": PROMPT}


def test_stream_mixture_live(models, live, run):
    async def watch():
        return [event async for event in moa.stream_mixture(PROMPT, models, models[1])]

    events = run(watch())
    assert "".join(event.text for event in events if isinstance(event, moa.AggregatorDelta)) == "Hello there."
    assert events[-1].answer.outcome == "complete"


def test_a_proxy_does_not_capture_loopback(models, live, monkeypatch, run):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "example.org")
    assert [reply.failure for reply in run(_on_new_clients(models))] == [None] * 3
    moa.setup("offline")
    assert [reply.failure for reply in run(_on_new_clients(models))] == [None] * 3


def test_a_proxy_is_used_for_other_hosts(models, recorder, monkeypatch, run):
    monkeypatch.setenv("http_proxy", recorder.url)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://vendor.invalid/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    moa.setup("live")
    (reply,) = run(_on_new_clients(models[:1]))
    assert reply.text == "Hello there."
    assert recorder.requests[0]["headers"]["Host"] == "vendor.invalid"


async def _on_new_clients(models):
    await moa.close()  # proxies are read when a client is made
    replies = await moa.fan_out(models, PROMPT, retries=0, timeout=10)
    await moa.close()
    return replies


def test_no_vendor_is_forgotten_here():
    assert {name.partition(":")[0] for name in [*LISTED, *UNLISTED]} == set(VENDORS) - {
        "colab"
    }  # a function, see test_colab.py
    assert settings.current().mode == "offline"


# What the offline vendors send, read by each SDK's own types and validated in full (the SDKs themselves are lenient).


def test_openai_reads_the_offline_vendor(models, question):
    asked = {"model": models[0].partition(":")[2], "messages": [{"role": "user", "content": question}]}
    with OpenAI(**moa.connection("openai"), max_retries=0) as client:
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        listed = {model.id for model in client.models.list()}
    openai.types.chat.ChatCompletion.model_validate(whole.to_dict())
    for chunk in chunks:
        openai.types.chat.ChatCompletionChunk.model_validate(chunk.to_dict())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage
    assert asked["model"] in listed


def test_anthropic_reads_the_offline_vendor(models, question):
    asked = {"model": models[1].partition(":")[2], "messages": [{"role": "user", "content": question}]}
    with Anthropic(**moa.connection("anthropic"), max_retries=0) as client:
        whole = client.messages.create(**asked, max_tokens=900)
        with client.messages.stream(**asked, max_tokens=900) as stream:
            for event in stream:
                assert event.type
            final = stream.get_final_message()
    anthropic.types.Message.model_validate(whole.to_dict())
    assert whole.content[0].text == final.content[0].text
    assert whole.stop_reason == final.stop_reason == "end_turn"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (
        final.usage.input_tokens,
        final.usage.output_tokens,
    )


def test_mistral_reads_the_offline_vendor(models, question):
    asked = {"model": models[2].partition(":")[2], "messages": [{"role": "user", "content": question}]}
    with Mistral(**moa.connection("mistral")) as client:
        whole = client.chat.complete(**asked)
        with client.chat.stream(**asked) as stream:
            events = list(stream)
    assert isinstance(whole, mistralai.client.models.ChatCompletionResponse)
    assert all(isinstance(event.data, mistralai.client.models.CompletionChunk) for event in events)
    text = "".join(event.data.choices[0].delta.content or "" for event in events)
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == events[-1].data.choices[0].finish_reason == "stop"
    assert events[-1].data.usage == whole.usage
