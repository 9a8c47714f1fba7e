"""Each byte that the embedded vendors send is what the vendor's SDK declares: read in strict mode, not leniently."""

import json
from datetime import date
from types import SimpleNamespace

import anthropic.types
import mistralai.client.models
import openai.types
import openai.types.chat
import pytest
from anthropic import Anthropic, APIStatusError
from mistralai.client import Mistral
from mistralai.client.errors import MistralError
from openai import APIStatusError as OpenAIStatusError
from openai import OpenAI
from pydantic import TypeAdapter

from moa_helpers import catalogue, offline
from moa_helpers.catalogue import listed
from tests.wire.test_plain_client import ask, chat, exchange

QUESTION = "Why is the sky blue?"
EVENT = TypeAdapter(anthropic.types.RawMessageStreamEvent)
OPENAI, ANTHROPIC, MISTRAL = "gpt-6-luna", "claude-haiku-5-5", "mistral-small-2603"


def at(path):
    return offline.start().url + path


def strict(kind, data):
    """Read JSON as one of the SDK's types, of which no field may have another type."""
    text = data if isinstance(data, str) else json.dumps(data)
    return kind.validate_json(text, strict=True) if kind is EVENT else kind.model_validate_json(text, strict=True)


def events(text):
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]


def well(path, body, **headers):
    status, text = ask(at(path), body, **headers)
    assert status == 200, text
    return text


def texts_by_index(chunks):
    said = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            said[choice["index"]] = said.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return said


# Answers


@pytest.mark.parametrize("path", ["/v1", "/openai/v1", "/groq/v1", "/groq/openai/v1", "/openrouter/api/v1"])
def test_a_chat_completion(path):
    model = OPENAI if path in ("/v1", "/openai/v1") else "openai/gpt-oss-120b"
    for more in ({}, {"n": 3}, {"stop": "scatter"}, {"seed": 7}, {"max_completion_tokens": 5}):
        answer = json.loads(well(f"{path}/chat/completions", chat(model, QUESTION, **more)))
        strict(openai.types.chat.ChatCompletion, answer)
        assert (answer["service_tier"], answer["model"]) == ("default", model)
        assert [choice["index"] for choice in answer["choices"]] == [*range(more.get("n", 1))]
        assert {"refusal", "content"} <= set(answer["choices"][0]["message"])


def test_a_stream_of_chunks():
    for more in ({}, {"n": 3}, {"stop": ["scatter", "light"]}, {"max_completion_tokens": 5}):
        asked = chat(OPENAI, QUESTION, stream=True, **more)
        whole = json.loads(well("/openai/v1/chat/completions", asked | {"stream": False}))
        plain = events(well("/openai/v1/chat/completions", asked))
        counted = well("/openai/v1/chat/completions", asked | {"stream_options": {"include_usage": True}})
        *chunks, last = events(counted)
        for chunk in [*plain, *chunks, last]:
            strict(openai.types.chat.ChatCompletionChunk, chunk)
        assert {chunk["created"] for chunk in chunks} == {last["created"]}
        assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
        assert not any("usage" in chunk for chunk in plain)
        said = [choice["message"]["content"] for choice in whole["choices"]]
        assert texts_by_index(plain) == texts_by_index(chunks) == dict(enumerate(said))
        ends = {c["index"]: c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]}
        assert ends == {choice["index"]: choice["finish_reason"] for choice in whole["choices"]}
        assert counted.endswith("data: [DONE]\n\n")


def test_several_answers_are_the_next_samples():
    answer = json.loads(well("/openai/v1/chat/completions", chat(OPENAI, QUESTION, n=3, seed=4)))
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    alone = [json.loads(well("/openai/v1/chat/completions", chat(OPENAI, QUESTION, seed=seed))) for seed in (4, 5, 6)]
    assert texts == [each["choices"][0]["message"]["content"] for each in alone]
    assert answer["usage"]["completion_tokens"] == sum(each["usage"]["completion_tokens"] for each in alone)


def test_a_message_and_its_events():
    for more in ({}, {"stop_sequences": ["scatter", "light"]}, {"max_tokens": 5}):
        for model in (ANTHROPIC, MISTRAL, OPENAI, "anything"):
            asked = chat(model, QUESTION, **{"max_tokens": 900} | more)
            whole = json.loads(well("/v1/messages", asked))
            strict(anthropic.types.Message, whole)
            sent = events(well("/v1/messages", asked | {"stream": True}))
            assert [event["type"] for event in sent[:3]] == ["message_start", "content_block_start", "ping"]
            for event in sent:
                if event["type"] != "ping":  # which the SDK passes over
                    strict(EVENT, event)
            said = "".join(event["delta"]["text"] for event in sent if event["type"] == "content_block_delta")
            delta = sent[-2]
            assert said == whole["content"][0]["text"]
            assert {name: delta["usage"][name] for name in ("input_tokens", "output_tokens")} == {
                name: whole["usage"][name] for name in ("input_tokens", "output_tokens")
            }
            for name in ("stop_reason", "stop_sequence"):
                assert delta["delta"][name] == whole[name]
            wanted = "max_tokens" if "max_tokens" in more else "stop_sequence" if more else "end_turn"
            assert whole["stop_reason"] == wanted
            assert (whole["stop_sequence"] in more.get("stop_sequences", ())) is (wanted == "stop_sequence")


def test_mistrals_completions():
    models, known = mistralai.client.models, {"stop", "length", "model_length", "error", "tool_calls"}
    for more, fault in (
        ({}, ""),
        ({"n": 2}, ""),
        ({"stop": "light"}, ""),
        ({}, "content_filter"),
        ({"max_tokens": 5}, ""),
    ):
        headers = {"x-moa-fault": fault} if fault else {}
        asked = chat(MISTRAL, QUESTION, **more)
        for path in ("/v1/chat/completions", "/mistral/v1/chat/completions"):
            whole = json.loads(well(path, asked, **headers))
            strict(models.ChatCompletionResponse, whole)
            chunks = events(well(path, asked | {"stream": True}, **headers))
            for chunk in chunks:
                strict(models.CompletionChunk, chunk)
            assert {choice["finish_reason"] for choice in whole["choices"]} <= known
            assert texts_by_index(chunks) == {c["index"]: c["message"]["content"] for c in whole["choices"]}
            assert chunks[-1]["usage"] == whole["usage"]


def test_a_stop_text_ends_the_answer_before_it():
    usual = json.loads(well("/openai/v1/chat/completions", chat(OPENAI, QUESTION)))["choices"][0]["message"]["content"]
    first, second = usual[20:30], usual[40:50]

    def said(**more):
        (choice,) = json.loads(well("/openai/v1/chat/completions", chat(OPENAI, QUESTION, **more)))["choices"]
        return choice["message"]["content"], choice["finish_reason"]

    for stop, cut in ((first, 20), ([second, first], 20), (second, 40), ([usual[:3]], 0)):
        assert said(stop=stop) == (usual[:cut], "stop")
    for stop in ("never said", [], None, "", ["", "never said"]):
        assert said(stop=stop) == (usual, "stop")
    assert said(stop=second, max_completion_tokens=5) == (usual[:20], "length")
    assert said(stop=second, max_completion_tokens=10) == (usual[:40], "stop")


# Lists of models


@pytest.mark.parametrize("vendor", ["", "/openai"])
def test_openai_lists_models(vendor):
    with OpenAI(base_url=at(f"{vendor}/v1"), api_key="any", max_retries=0) as client:
        ids = {model.id for model in client.models.list()}
        assert client.models.retrieve(OPENAI).id == OPENAI
        for unknown in ("claude-3-5-sonnet-20240620", "gpt-99", "no/such", " "):
            with pytest.raises(OpenAIStatusError) as caught:
                client.models.retrieve(unknown)
            assert (caught.value.status_code, caught.value.code) == (404, "model_not_found")
    assert OPENAI in ids
    assert (MISTRAL in ids) is (not vendor)
    for model in json.loads(well(f"{vendor}/v1/models", None))["data"]:
        strict(openai.types.Model, model)


@pytest.mark.parametrize("vendor", ["", "/anthropic"])
def test_anthropic_lists_models(vendor):
    with Anthropic(base_url=at(vendor), api_key="any", max_retries=0) as client:
        page = client.models.list()
        ids = {model.id for model in client.models.list()}
        assert client.models.retrieve(ANTHROPIC).display_name == ANTHROPIC
    assert ANTHROPIC in ids
    assert (page.first_id, page.last_id, page.has_more) == (page.data[0].id, page.data[-1].id, False)
    listing = json.loads(well(f"{vendor}/v1/models", None, **{"anthropic-version": "2023-06-01"}))
    for model in listing["data"]:
        strict(anthropic.types.ModelInfo, model)


@pytest.mark.parametrize("vendor", ["", "/mistral"])
def test_mistral_lists_models(vendor):
    with Mistral(server_url=at(vendor), api_key="any") as client:
        found = {model.id: model for model in client.models.list().data}
        assert client.models.retrieve(model_id=MISTRAL).id == MISTRAL
    assert found[MISTRAL].capabilities.completion_chat
    assert found[MISTRAL].max_context_length == 262144
    for model in json.loads(well(f"{vendor}/v1/models", None))["data"]:
        strict(mistralai.client.models.BaseModelCard, model)


def test_models_whose_time_is_over_are_neither_listed_nor_answered(monkeypatch):
    """Whose time was over when the catalogue was written: no stand-in answers otherwise because time goes by."""
    monkeypatch.setattr(catalogue, "date", SimpleNamespace(today=lambda: date(2099, 1, 1)))
    for vendor, retired, successor in (
        ("anthropic", "claude-3-5-sonnet-20240620", "claude-sonnet-5-5"),
        ("mistral", "mistral-large-2411", "mistral-large-2512"),
    ):
        path = "/messages" if vendor == "anthropic" else "/chat/completions"
        for base in ("/v1", f"/{vendor}/v1"):
            assert retired not in well(f"{base}/models", None).replace(f'"{successor}"', "")
            for url in (f"{base}/models/{retired}", f"{base}{path}"):
                body = chat(retired, QUESTION, max_tokens=5) if url.endswith(path) else None
                status, text = ask(at(url), body)
                assert (status, f"use {successor} instead" in text) == (404, True), text
    assert offline.start().vendors.asked == {}
    vendors = ("openai", "anthropic", "mistral", "groq", "together", "cerebras")
    data = {vendor: json.loads(well(f"/{vendor}/v1/models", None))["data"] for vendor in vendors}
    served = {f"{vendor}:{model['id']}" for vendor, models in data.items() for model in models}
    assert {model.name for model in listed().values() if model.tier != "retired"} - {
        "openrouter:openai/gpt-oss-120b"
    } <= served


# Errors


CODES = {
    401: "invalid_api_key",
    403: "model_not_found",
    404: "model_not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
}
TYPES = {429: "requests", 500: "server_error", 503: "server_error", 529: "server_error"}
OF_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


def test_an_error_in_each_format():
    how, mistral = {"api_key": "any", "max_retries": 0}, Mistral(server_url=at("/mistral"), api_key="any")
    with OpenAI(base_url=at("/openai/v1"), **how) as openai_, Anthropic(base_url=at(""), **how) as claude, mistral:
        for status in [int(kind) for kind in offline.KINDS if kind.isdigit()]:
            fault = {"x-moa-fault": str(status)}
            with pytest.raises(OpenAIStatusError) as caught:
                openai_.chat.completions.create(**chat(OPENAI, QUESTION), extra_headers=fault)
            error = caught.value
            assert (error.status_code, error.type) == (status, TYPES.get(status, "invalid_request_error"))
            assert error.code == CODES.get(status)
            assert error.request_id.startswith("req_")
            with pytest.raises(APIStatusError) as caught:
                claude.messages.create(**chat(ANTHROPIC, QUESTION, max_tokens=9), extra_headers=fault)
            error = caught.value
            assert (error.status_code, error.body["error"]["type"]) == (status, OF_ANTHROPIC[status])
            assert error.body["request_id"] == error.request_id
            if status != 413:  # which the SDK's types have forgotten
                strict(anthropic.types.ErrorResponse, error.body)
            with pytest.raises(MistralError) as caught:
                mistral.chat.complete(**chat(MISTRAL, QUESTION), http_headers=fault)
            assert caught.value.status_code == status
            assert {"object", "message", "type", "param", "code"} == set(json.loads(caught.value.body))


def test_every_response_says_who_sent_it():
    for path, body, header in (
        ("/v1/chat/completions", chat(OPENAI, QUESTION), "x-request-id"),
        ("/v1/chat/completions", chat(OPENAI, QUESTION, stream=True), "x-request-id"),
        ("/v1/messages", chat(ANTHROPIC, QUESTION, max_tokens=9, stream=True), "request-id"),
        ("/v1/messages", b"{", "request-id"),
        ("/v1/models", None, "x-request-id"),
        ("/nowhere", None, "x-request-id"),
        ("/anthropic/v1/models", None, "request-id"),
    ):
        _, headers, _ = exchange(at(path), body)
        assert headers["x-moa-offline"] == "1"
        assert headers[header].startswith("req_")


PATHS = [
    ("POST", "/v1/responses", 404, "openai", ""),
    ("POST", "/openai/v1/embeddings", 404, "openai", ""),
    ("GET", "/v1/assistants", 404, "openai", ""),
    ("PUT", "/v1/files", 405, "openai", "takes GET"),
    ("DELETE", "/v1/batches", 405, "openai", "takes GET, HEAD, POST"),
    ("GET", "/", 404, "openai", "lacks /v1"),
    ("POST", "/chat/completions", 404, "openai", "lacks /v1"),
    ("POST", "/openai/chat/completions", 404, "openai", "lacks /v1"),
    ("POST", "/v1/v1/chat/completions", 404, "openai", "/v1 twice"),
    ("POST", "/openai/v1/v1/chat/completions", 404, "openai", "/v1 twice"),
    ("POST", "/v1/v1/messages", 404, "anthropic", "/v1 twice"),
    ("POST", "/v1/messages/count_tokens", 404, "anthropic", ""),
    ("PUT", "/v1/messages/batches", 405, "anthropic", "takes GET"),
    ("PUT", "/v1/batch/jobs", 405, "mistral", "takes GET"),
    ("POST", "/nosuch/v1/files", 404, "openai", "no vendor"),
    ("POST", "/anthropic/v1/complete", 404, "anthropic", ""),
    ("POST", "/mistral/v1/fim/completions", 404, "mistral", ""),
    ("GET", "/nosuch/v1/models", 404, "openai", "no vendor"),
    ("GET", "/nosuch/v1/models/gpt-6-luna", 404, "openai", "no vendor"),
    ("POST", "/nosuch/v1/chat/completions", 404, "openai", "no vendor"),
    ("POST", "/nosuch/v1/messages", 404, "anthropic", "no vendor"),
    ("GET", "/v1/chat/completions", 405, "openai", "takes POST, not GET"),
    ("PUT", "/v1/messages", 405, "anthropic", "takes POST, not PUT"),
    ("POST", "/mistral/v1/models", 405, "mistral", "takes GET"),
    ("DELETE", "/v1/models/gpt-6-luna", 405, "openai", "takes GET"),
    ("OPTIONS", "/v1/chat/completions", 405, "openai", "takes POST"),
]


@pytest.mark.parametrize(("method", "path", "status", "dialect", "hint"), PATHS)
def test_an_unknown_path_or_method_names_what_is_served(method, path, status, dialect, hint):
    found, headers, text = exchange(at(path), b"{}" if method == "POST" else None, method=method)
    said = json.loads(text)
    error = said if dialect == "mistral" else said["error"]
    assert (found, headers["content-type"].split(";")[0]) == (status, "application/json")
    assert ("POST /v1/chat/completions" in error["message"], hint in error["message"]) == (True, True), text
    assert error["type"] == {"anthropic": {404: "not_found_error"}, "mistral": {404: "not_found_error"}}.get(
        dialect, {}
    ).get(status, "invalid_request_error")
    assert (said.get("type") == "error") is (dialect == "anthropic")
    assert ("allow" in headers) is (status == 405)
