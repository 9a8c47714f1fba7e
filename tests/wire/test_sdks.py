"""The official SDKs' ordinary calls at the embedded vendors, read by the SDKs' own types in strict mode.

``make test-all`` runs these with the oldest SDKs that the package supports, too.
"""

import asyncio

import anthropic
import anthropic.types
import mistralai.client.models
import openai
import openai.types.chat
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.wire.test_plain_client import chat

SKY = "Why is the sky blue? Answer briefly."
USAGE = {"include_usage": True}
FAULTS = (400, 401, 403, 404, 413, 422, 429, 500, 503, 529)


@pytest.fixture(params=["", "/vendor"])
def at(request):
    """An SDK's base URL: one address for all vendors, or a path for each."""
    return lambda vendor: offline.start().url + (f"/{vendor}" if request.param else "")


def asked(model, **rest):
    return chat(model.partition(":")[2], SKY, **rest)


def says(model):
    return standins.answer(moa.find(model), "", SKY)


def strictly(kind, found):
    """Read what came, down to the last field, by the SDK's type; SDKs read their answers leniently."""
    assert isinstance(found, kind)
    return kind.model_validate(found.to_dict(), strict=True)


def test_openai(at, run):
    types = openai.types.chat
    with openai.OpenAI(base_url=f"{at('openai')}/v1", api_key="any", max_retries=0) as client:
        whole = client.chat.completions.create(**asked(LUNA, max_completion_tokens=900, temperature=1, stop=None))
        chunks = list(client.chat.completions.create(**asked(LUNA), stream=True, stream_options=USAGE))
        with_helper = getattr(client.chat.completions, "stream", None)
        if with_helper:
            with with_helper(**asked(LUNA)) as stream:
                assert stream.get_final_completion().choices[0].message.content == says(LUNA)
        for model in client.models.list():
            strictly(openai.types.Model, model)
        assert strictly(openai.types.Model, client.models.retrieve("gpt-6-luna")).id == "gpt-6-luna"
    strictly(types.ChatCompletion, whole)
    for chunk in chunks:
        strictly(types.ChatCompletionChunk, chunk)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == says(LUNA)
    assert whole.choices[0].message.content == says(LUNA)
    assert chunks[-1].usage == whole.usage

    async def asynchronously():
        async with openai.AsyncOpenAI(base_url=f"{at('openai')}/v1", api_key="any", max_retries=0) as client:
            first, second = await asyncio.gather(
                client.chat.completions.create(**asked(LUNA)),
                client.chat.completions.create(**asked(LUNA), stream=True),
            )
            texts = [chunk.choices[0].delta.content or "" async for chunk in second]
            return first.choices[0].message.content, "".join(texts), [model.id async for model in client.models.list()]

    text, streamed, models = run(asynchronously())
    assert text == streamed == says(LUNA)
    assert "gpt-6-luna" in models


def test_anthropic(at, run):
    types = anthropic.types
    kinds = {
        "message_start": types.RawMessageStartEvent,
        "content_block_start": types.RawContentBlockStartEvent,
        "content_block_delta": types.RawContentBlockDeltaEvent,
        "content_block_stop": types.RawContentBlockStopEvent,
        "message_delta": types.RawMessageDeltaEvent,
        "message_stop": types.RawMessageStopEvent,
    }
    limited = asked(HAIKU, max_tokens=900)
    with anthropic.Anthropic(base_url=at("anthropic"), api_key="any", max_retries=0) as client:
        whole = client.messages.create(**limited, system="Follow these:\n1. Be brief.\n2. Be kind.")
        events = list(client.messages.create(**limited, stream=True))
        with client.messages.stream(**limited) as stream:
            assert "".join(stream.text_stream) == says(HAIKU)
        for model in client.models.list():
            strictly(types.ModelInfo, model)
        assert strictly(types.ModelInfo, client.models.retrieve("claude-haiku-5-5")).id == "claude-haiku-5-5"
    strictly(types.Message, whole)
    assert whole.content[0].text == says(HAIKU)
    assert {event.type for event in events} == set(kinds)
    for event in events:
        strictly(kinds[event.type], event)
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == says(HAIKU)

    async def asynchronously():
        async with anthropic.AsyncAnthropic(base_url=at("anthropic"), api_key="any", max_retries=0) as client:
            first = await client.messages.create(**limited)
            async with client.messages.stream(**limited) as stream:
                final = await stream.get_final_message()
            return first, final, [model.id async for model in client.models.list()]

    first, final, models = run(asynchronously())
    assert first.content[0].text == final.content[0].text == says(HAIKU)
    assert first.usage.output_tokens == final.usage.output_tokens
    assert "claude-haiku-5-5" in models


def test_mistral(at, run):
    types = mistralai.client.models
    with Mistral(server_url=at("mistral"), api_key="any") as client:  # reads what comes by its types
        whole = client.chat.complete(**asked(SMALL, temperature=0.7, max_tokens=900))
        with client.chat.stream(**asked(SMALL)) as stream:
            events = list(stream)
        listed = client.models.list().data
        assert client.models.retrieve(model_id="mistral-small-2603").id == "mistral-small-2603"
    assert isinstance(whole, types.ChatCompletionResponse)
    assert whole.choices[0].message.content == says(SMALL)
    assert all(isinstance(event.data, types.CompletionChunk) for event in events)
    assert "".join(event.data.choices[0].delta.content or "" for event in events) == says(SMALL)
    assert events[-1].data.usage.completion_tokens == whole.usage.completion_tokens
    assert "mistral-small-2603" in [model.id for model in listed]
    assert {type(model) for model in listed} <= {types.BaseModelCard, types.FTModelCard}

    async def asynchronously():
        async with Mistral(server_url=at("mistral"), api_key="any") as client:
            first = await client.chat.complete_async(**asked(SMALL))
            async with await client.chat.stream_async(**asked(SMALL)) as stream:
                texts = [event.data.choices[0].delta.content or "" async for event in stream]
            return first.choices[0].message.content, "".join(texts), await client.models.list_async()

    text, streamed, models = run(asynchronously())
    assert text == streamed == says(SMALL)
    assert models.data == listed


@pytest.mark.parametrize("status", FAULTS)
def test_errors_become_the_sdks_own(status):
    url, headers = offline.start().url, {"x-moa-fault": f"{status},retry_after=3"}
    expected = {"match": "a fault on demand"}
    with (
        openai.OpenAI(base_url=f"{url}/openai/v1", api_key="any", max_retries=0) as client,
        pytest.raises(openai.APIStatusError, **expected) as first,
    ):
        client.chat.completions.create(**asked(LUNA), extra_headers=headers)
    with (
        anthropic.Anthropic(base_url=f"{url}/anthropic", api_key="any", max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError, **expected) as second,
    ):
        client.messages.create(**asked(HAIKU, max_tokens=9), extra_headers=headers)
    with (
        Mistral(server_url=f"{url}/mistral", api_key="any") as client,
        pytest.raises(MistralError, **expected) as third,
    ):
        client.chat.complete(**asked(SMALL), http_headers=headers)
    assert {caught.value.status_code for caught in (first, second, third)} == {status}
    names = {429: "RateLimitError", 401: "AuthenticationError", 400: "BadRequestError", 404: "NotFoundError"}
    for caught in (first, second):
        assert caught.value.response.headers["retry-after"] == "3"
        assert type(caught.value).__name__ == names.get(status, type(caught.value).__name__)


def test_what_is_not_there_is_refused_in_words():
    url = offline.start().url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        for call in (
            lambda: client.embeddings.create(model="text-embedding-3-small", input="Hello"),
            lambda: client.models.retrieve("gpt-99 nova "),
            lambda: client.responses.create(model="gpt-6-luna", input="Hello"),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                call()
            assert len(caught.value.body["message"]) > 20
    with (
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
        pytest.raises(anthropic.NotFoundError, match="not served here"),
    ):
        client.messages.count_tokens(model="claude-haiku-5-5", messages=[{"role": "user", "content": "Hello"}])
    with Mistral(server_url=url, api_key="any") as client, pytest.raises(MistralError, match="not served here"):
        client.embeddings.create(model="mistral-embed", inputs=["Hello"])
