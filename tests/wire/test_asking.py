"""What a request may ask of the embedded vendors: what changes the form of an answer is refused, nothing is ignored."""

import json

import pytest

from moa_helpers import offline
from tests.wire.test_plain_client import ask, chat, exchange

QUESTION = "Why is the sky blue?"
CHAT, MISTRAL, MESSAGES = "/openai/v1/chat/completions", "/mistral/v1/chat/completions", "/anthropic/v1/messages"
MODELS = {CHAT: "gpt-6-luna", MISTRAL: "mistral-small-2603", MESSAGES: "claude-haiku-5-5"}


def sent(path, more, **headers):
    """How a request that is well but for what is given is answered: status, error or answer."""
    limit = {"max_tokens": 50} if path == MESSAGES else {}
    status, text = ask(offline.start().url + path, chat(MODELS.get(path), QUESTION) | limit | more, **headers)
    return status, json.loads(text)


def blames(path, answer):
    """Which parameter an error names, where the format has its place."""
    if path == MESSAGES:
        return answer["error"]["message"].partition(":")[0]
    return (answer if path == MISTRAL else answer["error"])["param"]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
TEXT = {"type": "text", "text": QUESTION}


def content(*parts, before=()):
    return {"messages": [*before, {"role": "user", "content": [*parts]}]}


CHANGED_FORMS = [
    (CHAT, {"logprobs": True}, "logprobs"),
    (CHAT, {"top_logprobs": 3}, "top_logprobs"),
    (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
    (CHAT, {"response_format": {}}, "response_format"),
    (CHAT, {"tools": [], "tool_choice": "required"}, "tool_choice"),
    (CHAT, {"tools": [], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    (CHAT, {"functions": [], "function_call": {"name": "f"}}, "function_call"),
    (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
    (CHAT, {"audio": {"voice": "x", "format": "wav"}}, "audio"),
    (CHAT, {"web_search_options": {}}, "web_search_options"),
    (CHAT, content(TEXT, IMAGE), "messages[0].content[1]"),
    (CHAT, content(IMAGE, TEXT), "messages[0].content[0]"),
    (CHAT, content({"type": "input_audio", "input_audio": {}}), "messages[0].content[0]"),
    (
        CHAT,
        content({"type": "file", "file": {}}, before=[{"role": "system", "content": "x"}]),
        "messages[1].content[0]",
    ),
    (
        CHAT,
        {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "It"}]},
        "messages[1]",
    ),
    (MISTRAL, {"response_format": {"type": "json_object"}}, "response_format"),
    (MISTRAL, {"tool_choice": "any"}, "tool_choice"),
    (MISTRAL, {"prompt_mode": "reasoning"}, "prompt_mode"),
    (MISTRAL, content({"type": "image_url", "image_url": "x"}), "messages[0].content[0]"),
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
    (MESSAGES, {"tool_choice": {"type": "any"}}, "tool_choice"),
    (MESSAGES, {"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
    (MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format"),
    (MESSAGES, {"output_format": {"type": "json_schema"}}, "output_format"),
    (MESSAGES, content({"type": "image", "source": {}}), "messages[0].content[0]"),
    (MESSAGES, content({"type": "document", "source": {}}), "messages[0].content[0]"),
    (MESSAGES, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "("}]}, "messages[1]"),
    (MESSAGES, {"n": 2}, "n"),
    (MESSAGES, {"max_tokens": None}, "max_tokens"),
]


@pytest.mark.parametrize(("path", "more", "param"), CHANGED_FORMS)
def test_what_changes_the_form_of_an_answer_is_refused_by_name(path, more, param):
    status, answer = sent(path, more)
    assert (status, blames(path, answer)) == (400, param), answer


NULLS = ("temperature", "top_p", "stream", "n", "stop", "seed", "tools", "tool_choice", "response_format", "logprobs")
HARMLESS = [
    (CHAT, dict.fromkeys((*NULLS, "max_tokens", "max_completion_tokens", "stream_options", "thinking", "user"))),
    (MISTRAL, dict.fromkeys((*NULLS, "max_tokens", "random_seed"))),
    (MESSAGES, dict.fromkeys(("temperature", "top_p", "stream", "stop_sequences", "tools", "thinking", "system"))),
    (CHAT, {"temperature": 1}),
    (CHAT, {"temperature": 1.0, "top_p": 1, "n": 1, "logprobs": False, "presence_penalty": 0}),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"}),
    (CHAT, {"tool_choice": "none", "response_format": {"type": "text"}, "modalities": ["text"]}),
    (CHAT, {"store": True, "metadata": {}, "user": "me", "service_tier": "auto", "reasoning_effort": "low"}),
    (CHAT, {"stream_options": {"include_usage": None}}),
    (MISTRAL, {"temperature": 0.7, "safe_prompt": False, "random_seed": 3}),
    (MESSAGES, {"temperature": 1.0}),
    (MESSAGES, {"thinking": {"type": "disabled"}}),
    (MESSAGES, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "auto"}}),
    (MESSAGES, {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]}),
    (CHAT, {"model": "gpt-6-sol", "reasoning_effort": "none", "temperature": 0.3}),
    (CHAT, {"model": "gpt-4o", "temperature": 0.3, "max_tokens": 9}),
]


@pytest.mark.parametrize(("path", "more"), HARMLESS)
def test_what_the_vendor_takes_is_taken(path, more):
    status, answer = sent(path, more)
    assert status == 200, answer


def test_a_temperature_is_refused_with_a_way_out_that_works():
    for path, model, way_out in (
        (CHAT, "gpt-6-sol", {"reasoning_effort": "none"}),
        (CHAT, "gpt-6-luna", {"reasoning_effort": "none"}),
        (MESSAGES, "claude-haiku-4-5", {"anthropic-version": "2023-06-01"}),
        (MESSAGES, "claude-sonnet-4-6", {"anthropic-version": "2023-06-01"}),
    ):
        headers, more = (way_out, {}) if path == MESSAGES else ({}, way_out)
        for temperature in (0, 0.5, 0.99):
            status, answer = sent(path, {"model": model, "temperature": temperature})
            assert (status, blames(path, answer)) == (400, "temperature"), answer
            assert all(word in answer["error"]["message"] for word in (*way_out, *way_out.values()))
            assert sent(path, {"model": model, "temperature": temperature} | more, **headers)[0] == 200
    for path, model in ((CHAT, "gpt-6.2-astra"), (MESSAGES, "claude-opus-5-5"), (CHAT, "gpt-6.1-sol")):
        assert sent(path, {"model": model, "temperature": 0.5, "reasoning_effort": "none"})[0] == 400
        assert sent(path, {"model": model, "temperature": 0.5}, **{"anthropic-version": "2023-06-01"})[0] == 400


# Token counts


def test_the_whole_conversation_is_counted():
    def counted(path, messages, **more):
        usage = sent(path, {"messages": messages} | more)[1]["usage"]
        return usage.get("prompt_tokens", usage.get("input_tokens"))

    system, user = {"role": "system", "content": "12345"}, {"role": "user", "content": "1234567"}
    said, image = {"role": "assistant", "content": "x" * 40}, {"role": "assistant", "content": None, "tool_calls": []}
    for path in (CHAT, MISTRAL):
        assert counted(path, [user]) == 2
        assert counted(path, [system, user]) == 3, "rounded once"
        assert counted(path, [system, user, said, image, user]) == 15
        assert counted(path, [system, {"role": "user", "content": [TEXT, TEXT]}]) == 12
    assert counted(MESSAGES, [user, said, user], system="12345") == 15
    assert counted(MESSAGES, [user], system=[{"type": "text", "text": "12345"}]) == 3
    assert counted(MESSAGES, [user, said, {"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]) == 12


def test_the_last_user_message_that_says_something_is_the_question():
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}
    asked = {"role": "user", "content": QUESTION}
    usual = sent(MESSAGES, {"max_tokens": 900})[1]["content"]
    assert sent(MESSAGES, {"max_tokens": 900, "messages": [asked, use, result]})[1]["content"] == usual
    other = sent(MESSAGES, {"max_tokens": 900, "messages": [asked, use, {"role": "user", "content": "Hm?"}]})[1]
    assert other["content"] != usual


# Whose model it is


@pytest.mark.parametrize(
    ("path", "model", "name"),
    [
        ("/v1/chat/completions", "gpt-99-nova", "openai:gpt-99-nova"),
        ("/v1/chat/completions", "o9-mini", "openai:o9-mini"),
        ("/v1/chat/completions", "mistral-next", "mistral:mistral-next"),
        ("/v1/chat/completions", "ministral-3b-latest", "mistral:ministral-3b-latest"),
        ("/v1/chat/completions", "codestral-latest", "mistral:codestral-latest"),
        ("/v1/chat/completions", "open-mixtral-8x7b", "mistral:open-mixtral-8x7b"),
        ("/v1/chat/completions", "claude-next", "anthropic:claude-next"),
        ("/v1/chat/completions", "claude-haiku-5-5", "anthropic:claude-haiku-5-5"),
        ("/v1/messages", "mistral-small-2603", "mistral:mistral-small-2603"),
        ("/v1/messages", "gpt-6-luna", "openai:gpt-6-luna"),
        ("/v1/messages", "anything", "anthropic:anything"),
        ("/v1/chat/completions", "llama3.2:3b", "vllm:llama3.2:3b"),
        ("/v1/chat/completions", "gpt-oss-20b", "vllm:gpt-oss-20b"),
        ("/v1/chat/completions", "olmo-3", "vllm:olmo-3"),
        ("/v1/chat/completions", "Qwen/Qwen3.8-Flash", "together:Qwen/Qwen3.8-Flash"),
        ("/v1/chat/completions", "groq:llama-9", "groq:llama-9"),
        ("/openai/v1/chat/completions", "openai/gpt-oss-20b", "groq:openai/gpt-oss-20b"),
        ("/groq/openai/v1/chat/completions", "llama-9", "groq:llama-9"),
        ("/openai/v1/chat/completions", "ft:own", "openai:ft:own"),
        ("/openrouter/api/v1/chat/completions", "x/y", "openrouter:x/y"),
        ("/together/v1/messages", "x/y", "together:x/y"),
    ],
)
def test_the_model_says_whose_it_is(path, model, name, vendors):
    only_completion = "messages" not in path and name in ("openai:gpt-99-nova", "openai:o9-mini")
    assert sent(path, {"model": model, "max_tokens": 9})[0] == (400 if only_completion else 200)
    vendors.asked.clear()
    status, answer = sent(path, {"model": model, "max_completion_tokens" if only_completion else "max_tokens": 9})
    assert status == 200, answer
    assert dict(vendors.asked) == {name: 1}
    assert answer["model"] == model.removeprefix("groq:")
    assert answer.get("object", answer.get("type")) == ("message" if "messages" in path else "chat.completion")


def test_claude_on_chat_completions_needs_no_limit():
    for more in ({}, {"max_tokens": 9}, {"max_completion_tokens": 9}, {"temperature": 1}):
        for path in ("/v1/chat/completions", "/anthropic/v1/chat/completions"):
            status, answer = sent(path, {"model": "claude-haiku-5-5"} | more)
            assert (status, answer["object"]) == (200, "chat.completion")


# A web page in the reader's browser


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://evil.example:8000"},
    {"Origin": "chrome-extension://abc"},
    {"Host": "evil.example"},
    {"Host": "evil.example:8000"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "192.168.1.5:8000"},
    {"Host": "0.0.0.0:8000"},
    {"Host": "localhost:8000", "Origin": "http://rebound.example:8000"},
]
OWN = [
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1:8888"},
    {"Origin": "http://[::1]:5"},
    {"Origin": "https://LOCALHOST"},
    {"Host": "localhost"},
    {"Host": "127.8.0.1:80"},
    {"Host": "[::1]:8000"},
]


def heard(vendors):
    """Everything that a request can use up."""
    return dict(vendors.asked), len(vendors.faults._turns._counts), len(vendors._latency._turns._counts)


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_is_refused_before_anything_is_counted(headers, vendors):
    before = heard(vendors)
    with offline.fault("*", 429, times=1):
        for path, kind in (("/v1/chat/completions", "invalid_request_error"), (MESSAGES, "permission_error")):
            body = chat(MODELS.get(path, "gpt-6-luna"), QUESTION, max_tokens=9)
            status, answered, text = exchange(offline.start().url + path, body, **headers)
            assert (status, json.loads(text)["error"]["type"]) == (403, kind)
            assert not [name for name in answered if name.lower().startswith("access-control")]
        assert exchange(offline.start().url + "/v1/models", **headers)[0] == 403
        assert heard(vendors) == before
        assert sent(CHAT, {})[0] == 429, "the fault was not used up"


@pytest.mark.parametrize("headers", OWN)
def test_a_page_of_this_machine_is_let_in(headers):
    status, answered, _ = exchange(offline.start().url + CHAT, chat("gpt-6-luna", QUESTION), **headers)
    assert status == 200
    assert not [name for name in answered if name.lower().startswith("access-control")]


def test_without_a_key_nothing_is_counted(vendors):
    before = heard(vendors)
    with offline.fault("*", 503, times=1):
        for headers in (
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": "bearer  ", "content-type": "text/plain"},
            {"authorization": "", "x-api-key": ""},
            {"authorization": "", "x-moa-fault": "500"},
        ):
            status, text = ask(offline.start().url + CHAT, chat("gpt-6-luna", QUESTION), **headers)
            assert (status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key")
        assert heard(vendors) == before
        assert sent(CHAT, {})[0] == 503
    assert sent(MESSAGES, {}, **{"authorization": "", "x-api-key": "any"})[0] == 200
    assert sent(CHAT, {}, authorization="bearer any")[0] == 200
