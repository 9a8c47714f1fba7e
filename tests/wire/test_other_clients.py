"""What clients that nobody here wrote send, in the forms that were recorded from them: each gets a useful answer."""

import json

import pytest

from moa_helpers import offline
from moa_helpers.offline import bank
from tests.wire.test_plain_client import ask, chat

SKY = "Why is the sky blue?"
CITY = "What are three fun things to do in San Francisco?"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PART = [{"type": "text", "text": SKY}]
OLD = {"anthropic-version": "2023-06-01"}
NEW = {"anthropic-version": "2026-10-21"}


def get(path, body, **headers):
    """The text of an answer, whole or streamed, in whatever format; it was a success and is no excuse."""
    status, answer = ask(offline.start().url + path, body, **headers)
    assert status == 200, answer
    if body.get("stream"):
        lines = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith("data: {")]
        text = "".join(piece(json.loads(line)) for line in lines)
    else:
        whole = json.loads(answer)
        text = whole["choices"][0]["message"]["content"] if "choices" in whole else whole["content"][0]["text"]
    assert text.partition("(Offline stand-in")[0].strip()
    assert "no answer to that question" not in text
    return text


def piece(event):
    if "choices" in event:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return event.get("delta", {}).get("text", "")


def points(text, asked=CITY):
    return set(bank.points_in(bank.match(asked), text))


def told(system, user, **rest):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"messages": messages, **rest}


ONE_CALL = {  # the path, what is beside the question, headers
    "llm": (CHAT, chat("Qwen/Qwen2-72B-Instruct", SKY, stream=True, stream_options={"include_usage": True}), {}),
    "llm -s": (CHAT, told("Be brief.", SKY, model="gpt-6-luna", stream=True), {}),
    "LangChain, OpenAI": (CHAT, chat("gpt-6-luna", SKY, stream=False), {}),
    "LangChain, Anthropic": (MESSAGES, chat("claude-haiku-5-5", SKY, max_tokens=128_000), NEW),
    "LangChain, Anthropic, stream": (MESSAGES, chat("claude-haiku-5-5", SKY, max_tokens=128_000, stream=True), NEW),
    "LangChain, Mistral": (CHAT, chat("mistral-small-2603", SKY, temperature=0.7, top_p=1, stream=False), {}),
    "Vercel, OpenAI": (
        CHAT,
        {
            "model": "gpt-6-luna",
            "messages": [
                {"role": "developer", "content": "Follow these:\n1. Be brief.\n2. Be kind."},
                {"role": "user", "content": SKY},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        {},
    ),
    "Vercel, Anthropic": (
        MESSAGES,
        chat(
            "claude-haiku-5-5", PART, max_tokens=128_000, system=[{"type": "text", "text": "1. Be brief.\n2. Be kind."}]
        ),
        OLD,
    ),
    "Vercel, Mistral": (CHAT, chat("mistral-small-2603", PART, stream=True), {}),
    "litellm, Anthropic": (MESSAGES, chat("claude-haiku-5-5", PART, max_tokens=300, stream=True), OLD),
    "litellm, Groq": ("/groq/v1/chat/completions", chat("openai/gpt-oss-20b", SKY, max_tokens=300), {}),
    "litellm, Together": ("/together/v1/chat/completions", chat("Qwen/Qwen3.8-Flash", SKY, max_tokens=300), {}),
    "Groq": ("/groq/openai/v1/chat/completions", chat("openai/gpt-oss-20b", SKY), {}),
    "Groq, bare address": ("/openai/v1/chat/completions", chat("openai/gpt-oss-20b", SKY, max_tokens=300), {}),
    "OpenRouter": ("/openrouter/api/v1/chat/completions", chat("openai/gpt-oss-120b", SKY), {}),
    "pydantic-ai": (MESSAGES, chat("claude-haiku-5-5", PART, max_tokens=128_000, stream=True), NEW),
}


@pytest.mark.parametrize("client", ONE_CALL)
def test_one_call(client):
    path, body, headers = ONE_CALL[client]
    assert points(get(path, body, **headers), SKY)


def test_vercels_sdk_reads_whole_answers_of_anthropics_format():
    _, answer = ask(offline.start().url + MESSAGES, chat("claude-haiku-5-5", SKY, max_tokens=99), **OLD)
    assert "citations" not in json.loads(answer)["content"][0], "it takes a list or nothing, but not null"


# Mixtures of other people: the models' names are not in the catalogue, and no vendor stands in the path

OPEN = ["Qwen/Qwen2-72B-Instruct", "Qwen/Qwen1.5-72B-Chat", "mistralai/Mixtral-8x22B-Instruct-v0.1", "databricks/dbrx"]
MERGE = (
    "Several open models have answered the latest query of the user. Make one good answer of theirs.\n\nTheir answers:"
)


def numbered(texts):
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def given(texts, asked=CITY):
    return set().union(*(points(text, asked) for text in texts))


@pytest.mark.parametrize("base", ["", "/together"])
def test_the_first_mixture_of_agents_sends_its_aggregator_the_answers_alone(base):
    asked = "What are some fun things to do in SF?"
    texts = [get(base + CHAT, chat(model, asked, temperature=0.7, max_tokens=100)) for model in OPEN]
    text = get(base + CHAT, told(MERGE, ",".join(texts), model=OPEN[2], stream=True))
    assert points(text)
    assert points(text) <= given(texts)


@pytest.mark.parametrize("base", ["", "/together"])
def test_a_mixture_of_three_layers_with_numbered_answers_in_the_system_message(base):
    asked = "What are 3 fun things to do in SF?"
    texts = [get(base + CHAT, chat(model, asked, temperature=0.7, max_tokens=512)) for model in OPEN]
    first = given(texts)
    for _ in range(2):
        system = f"{MERGE}\n{numbered(texts)}"
        texts = [get(base + CHAT, told(system, asked, model=model, temperature=0.7, max_tokens=512)) for model in OPEN]
    text = get(base + CHAT, told(f"{MERGE}\n{numbered(texts)}", asked, model=OPEN[0], stream=True))
    assert points(text)
    assert points(text) <= given(texts) <= first


def test_a_mixture_with_the_answers_in_the_users_message():
    models = ["gpt-5-nano-2025-08-07", "claude-sonnet-4-5", "llama-3.3-70b"]
    asked, limit = SKY, {"max_tokens": 2048}
    texts = [
        get(CHAT, chat(model, asked, **({"max_completion_tokens": 2048} if "gpt" in model else limit)))
        for model in models
    ]
    responses = "\n\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))
    body = told("Combine what various models have answered.", f"Responses:\n{responses}\n\nQuery: {asked}")
    merged = get(CHAT, body | {"model": models[0], "max_completion_tokens": 2048})
    improved = get(CHAT, chat(models[2], f"Improve this response:\n\n{merged}\n\nOriginal query: {asked}", **limit))
    for text in (merged, improved):
        assert points(text, asked)
        assert points(text, asked) <= given(texts, asked)


def test_a_council_that_ranks_and_then_merges():
    models = ["openai/gpt-oss-120b", "x-ai/grok-4", "google/gemini-3-pro"]
    base = "/openrouter/api" + CHAT
    texts = [get(base, chat(model, SKY)) for model in models]
    answers = "\n\n".join(f"Response {name}:\n{text}" for name, text in zip("ABC", texts, strict=True))
    task = f"Several answers to one question follow.\n\nQuestion: {SKY}\n\nThe answers:\n\n{answers}\n\n"
    ranked = get(base, chat(models[0], f"{task}Your task:\n1. Look at each.\n2. End with a ranking.\n\nFINAL RANKING:"))
    text = get(
        base, chat(models[1], f"You chair a council.\n\n{task}STAGE 2 - The rankings:\n\n{ranked}\n\nNow answer.")
    )
    assert points(text, SKY)
    assert points(text, SKY) <= given(texts, SKY)


def test_a_template_with_the_context_in_the_users_message():
    texts = [get(CHAT, chat(model, SKY)) for model in OPEN[:2]]
    context = "\n\n".join(texts)
    for prompt in (
        f"Use this context to answer the question at the end.\n\n{context}\n\nQuestion: {SKY}\nHelpful answer:",
        f"<original_prompt>\n{SKY}\n</original_prompt>\n<responses>\n{context}\n</responses>\nSynthesise them.",
        f"Answer from the context below.\n\nContext: {context}\n\n---\n\n**{SKY}** Answer briefly.",
        f"Write a concise summary of the following:\n\n{context}\n\nCONCISE SUMMARY:",
    ):
        found = points(get(CHAT, chat("gpt-6-luna", prompt)), SKY)
        assert found
        assert found <= given(texts, SKY)
