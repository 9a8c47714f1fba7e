"""Every way in which a server says no: what cannot be read, cannot be done, or may not be asked; and no answer."""

import asyncio
import json
import time
from types import SimpleNamespace

import anthropic
import openai
import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.serve import gate
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL
from tests.support.serving import PANEL, PATHS, asking, post, serving, until
from tests.wire.test_serve import clients

CHAT, MESSAGES, RESPONSES = PATHS
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
TURN = {"role": "user", "content": "Hello?"}
BAD = [
    (CHAT, b"", "JSON cannot be read"),
    (CHAT, b"{", "JSON cannot be read"),
    (CHAT, b"[" * 100_000, "nested too deep"),
    (CHAT, b"[]", "must be an object"),
    (CHAT, b'"text"', "must be an object"),
    (CHAT, b"\xff\xfe", "no valid UTF-8"),
    (CHAT, b'{"model": "panel", "messages": [{"role": "user", "content": "\\ud800"}]}', "no valid UTF-8"),
    (CHAT, b'{"max_tokens": NaN}', "NaN"),
    (CHAT, {}, "names no model"),
    (CHAT, {"model": ""}, "names no model"),
    (CHAT, {"model": ["panel"]}, "must be a text"),
    (CHAT, {"model": "panel"}, "no user message"),
    (CHAT, asking(CHAT, []), "no user message"),
    (CHAT, asking(CHAT, {}), "must be a list"),
    (CHAT, asking(CHAT, ["Hello?"]), "messages[0] must be a message with one of the roles"),
    (CHAT, asking(CHAT, [{"role": ["user"], "content": "x"}]), "one of the roles"),
    (CHAT, asking(CHAT, [{"role": "tool", "content": "x"}]), "one of the roles"),
    (CHAT, asking(CHAT, [{"role": "user"}]), "message 1 of the conversation is empty"),
    (CHAT, asking(CHAT, [{"role": "user", "content": 7}]), "must be a text or a list of parts"),
    (CHAT, asking(CHAT, [{"role": "user", "content": [7]}]), "is no text"),
    (CHAT, asking(CHAT, [{"role": "user", "content": [{"type": "text", "text": 7}]}]), "is no text"),
    (CHAT, asking(CHAT, [{"role": "user", "content": [{"type": ["text"], "text": "x"}]}]), "is no text"),
    (CHAT, asking(CHAT, "  "), "is empty"),
    (CHAT, asking(CHAT, [TURN, {"role": "assistant", "content": "It is"}]), "must end with a message of the user"),
    (CHAT, asking(CHAT, [{"role": "system", "content": "Be brief."}]), "no user message"),
    (CHAT, asking(CHAT, IMAGE), "is no text. A mixture answers in plain text"),
    (CHAT, asking(CHAT, [TURN, {"role": "assistant", "content": "", "tool_calls": [TOOL]}, TURN]), "calls a tool"),
    (CHAT, asking(CHAT, "x", tools=[TOOL]), "Unsupported parameter: tools"),
    (CHAT, asking(CHAT, "x", tools={}), "must be a list"),
    (CHAT, asking(CHAT, "x", functions=[{"name": "f"}]), "Unsupported parameter: functions"),
    (CHAT, asking(CHAT, "x", tool_choice="required"), "Unsupported parameter: tool_choice"),
    (CHAT, asking(CHAT, "x", n=2), "Unsupported parameter: n"),
    (CHAT, asking(CHAT, "x", n="1"), "must be a whole number"),
    (CHAT, asking(CHAT, "x", stop="\n"), "Unsupported parameter: stop"),
    (CHAT, asking(CHAT, "x", stop=["a"]), "Unsupported parameter: stop"),
    (CHAT, asking(CHAT, "x", response_format={"type": "json_object"}), "Unsupported parameter: response_format"),
    (CHAT, asking(CHAT, "x", response_format={"type": "json_schema"}), "Unsupported parameter: response_format"),
    (CHAT, asking(CHAT, "x", modalities=["text", "audio"]), "Unsupported parameter: modalities"),
    (CHAT, asking(CHAT, "x", audio={"voice": "v"}), "Unsupported parameter: audio"),
    (CHAT, asking(CHAT, "x", logprobs=True), "Unsupported parameter: logprobs"),
    (CHAT, asking(CHAT, "x", max_tokens=0), "max_tokens is 0"),
    (CHAT, asking(CHAT, "x", max_completion_tokens=-5), "max_completion_tokens is -5"),
    (CHAT, asking(CHAT, "x", max_tokens="many"), "must be a whole number"),
    (CHAT, asking(CHAT, "x", stream="yes"), "stream is"),
    (CHAT, asking(CHAT, "x", stream_options=[1]), "stream_options is a list"),
    (MESSAGES, asking(MESSAGES, "x", stop_sequences=["a"]), "Unsupported parameter: stop_sequences"),
    (MESSAGES, asking(MESSAGES, "x", tools=[{"name": "f"}]), "Unsupported parameter: tools"),
    (MESSAGES, asking(MESSAGES, "x", system={"text": "x"}), "system is an object"),
    (MESSAGES, asking(MESSAGES, "x", system=[{"type": "image"}]), "system[0]: it is no text"),
    (MESSAGES, asking(MESSAGES, [{"role": "user", "content": [{"type": "tool_result"}]}]), "is no text"),
    (MESSAGES, asking(MESSAGES, "x", mcp_servers=[{"url": "u"}]), "Unsupported parameter: mcp_servers"),
    (RESPONSES, {"model": "panel", "input": 7}, "must be a text or a list"),
    (RESPONSES, {"model": "panel", "input": ""}, "no user message"),
    (RESPONSES, asking(RESPONSES, "x", previous_response_id="r"), "Unsupported parameter: previous_response_id"),
    (RESPONSES, asking(RESPONSES, "x", background=True), "Unsupported parameter: background"),
    (RESPONSES, asking(RESPONSES, "x", text={"format": {"type": "json_schema"}}), "Unsupported parameter: text.format"),
    (RESPONSES, asking(RESPONSES, "x", instructions=["x"]), "must be a text"),
    (RESPONSES, asking(RESPONSES, [{"type": "function_call_output", "output": "x"}]), "one of the roles"),
]


def test_what_cannot_be_read_or_done(run, vendors):
    async def exchange():
        async with serving() as (_, client):
            return [(*case, await post(client, case[0], case[1])) for case in BAD]

    for path, body, words, (status, headers, said) in run(exchange()):
        assert status == 400, (body, said)
        assert words in said["error"]["message"], (body, said)
        assert said["error"]["type"] == "invalid_request_error"
        assert headers["request-id" if path == MESSAGES else "x-request-id"]
        assert said.get("type") == ("error" if path == MESSAGES else None)
    assert not vendors.asked, "a call was made for a request that was refused"


def test_what_is_empty_or_changes_nothing_is_taken(run, question):
    nothing = {"tools": [], "tool_choice": "auto", "functions": None, "stop": [], "n": 1, "logprobs": False}
    nothing |= {"response_format": {"type": "text"}, "stream": None, "stream_options": None, "metadata": {}}
    more = {"seed": 3, "metadata": {"a": "b"}, "reasoning_effort": "low", "frobnicate": [1], "presence_penalty": 0.5}

    async def exchange():
        async with serving() as (_, client):
            return await post(client, CHAT, asking(CHAT, question, **nothing | more))

    status, _, body = run(exchange())
    assert status == 200
    assert body["moa"]["ignored"] == ["metadata", "seed", "reasoning_effort", "frobnicate", "presence_penalty"]


def test_what_is_not_served(run, vendors):
    async def exchange():
        async with serving() as (_, client):
            found = [await post(client, "/chat/completions", {}), await post(client, "/v1/embeddings", {})]
            found.append(await post(client, CHAT, asking(CHAT, "x") | {"model": "gpt-4"}))
            found.append(await post(client, MESSAGES, asking(MESSAGES, "x") | {"model": "claude"}))
            found.append(await post(client, CHAT, b" " * (8 * 2**20 + 1)))
            found.append(await post(client, CHAT, b"x", **{"content-encoding": "gzip"}))
            for path in ("/v1/models/gpt-4", CHAT):
                async with client.get(path) as answer:
                    found.append((answer.status, answer.headers, json.loads(await answer.text())))
            return found

    found = run(exchange())
    assert [status for status, _, _ in found] == [404, 404, 404, 404, 413, 400, 404, 405]
    assert [body["error"].get("code") for _, _, body in found[:3]] == ["unknown_url", "unknown_url", "model_not_found"]
    assert "The path lacks /v1" in found[0][2]["error"]["message"]
    assert 'There is no mixture "gpt-4"; there are panel.' in found[2][2]["error"]["message"]
    assert found[3][2]["error"]["type"] == "not_found_error"
    assert not vendors.asked


def test_the_token(run, question):
    token = "a-token-of-this-server"
    right = [{"authorization": f"Bearer {token}"}, {"authorization": f"bearer {token}"}, {"x-api-key": token}]
    right += [{"x-api-key": "other", "authorization": f"Bearer {token}"}, right[0] | {"host": "llm.example"}]
    wrong = [
        {},
        {"authorization": token + "x"},
        {"x-api-key": token[:-1]},
        {"authorization": "Bearer "},
        {"x-api-key": "ü"},
    ]

    async def exchange():
        async with serving(token=token) as (server, client):
            asked = [await post(client, CHAT, {}, **headers) for headers in [*right, *wrong]]
            async with client.get("/v1/models") as listed, client.get("/health") as health:
                return asked, listed.status, health.status, repr(server)

    asked, listed, health, shown = run(exchange())
    assert [status for status, _, _ in asked] == [400] * len(right) + [401] * len(wrong)
    assert asked[-1][2]["error"]["code"] == "invalid_api_key"
    assert (listed, health) == (401, 200)
    assert token not in shown + str(asked)


def test_a_web_page_may_not_ask_unless_it_is_named(run):
    app, evil = "https://app.example", "https://evil.example"
    kinds = [
        {"origin": evil},
        {"host": "evil.example"},
        {"origin": app},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
    ]

    async def exchange(**settings):
        async with serving(**settings) as (_, client):
            asked = [await post(client, CHAT, {}, **headers) for headers in kinds]
            wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
            preflight = []
            for origin in (app, evil):
                async with client.options(CHAT, headers={"origin": origin} | wanted) as answer:
                    preflight.append((answer.status, answer.headers))
            return asked, preflight

    asked, preflight = run(exchange())
    assert [status for status, _, _ in asked] == [403, 403, 403, 400, 403]
    assert [status for status, _ in preflight] == [403, 403]
    for _, headers, *_ in [*asked, *preflight]:
        assert not [name for name in headers if name.lower().startswith("access-control")]
    for more in ({}, {"token": "a-token-of-this-server"}):
        asked, preflight = run(exchange(origins=[app], **more))
        assert [status for status, _, _ in asked] == ([401] * 5 if more else [403, 403, 400, 400, 403])
        assert asked[2][1]["access-control-allow-origin"] == app
        assert preflight[0][0] == 204
        allowed = {name.lower(): value for name, value in preflight[0][1].items()}
        assert allowed["access-control-allow-headers"] == "authorization"
        assert "access-control-allow-origin" not in preflight[1][1]


# No answer

EVERY = (LUNA, HAIKU, SMALL)
OUTCOMES = [
    ("*", "500", {}, "all_failed", 502, "no answer: every reference model of layer 1 failed"),
    ("*", "401", {}, "all_failed", 502, "authentication"),
    ("*", "429,retry_after=7", {}, "all_failed", 429, "rate_limit"),
    ("*", "hang", {"deadline": 0.1}, "all_failed", 504, "deadline"),
    ("*", "hang", {"timeout": 0.1}, "all_failed", 504, "timeout"),
    ("mistral", "503", {"quorum": 3}, "below_quorum", 502, "2 of 3 answered, 3 were needed"),
    ("mistral", "429", {"quorum": 3}, "below_quorum", 429, "2 of 3 answered, 3 were needed"),
    (SOL, "500", {}, "aggregator_failed", 502, "the aggregator failed"),
    (SOL, "429", {}, "aggregator_failed", 429, "the aggregator failed"),
    (SOL, "empty", {}, "aggregator_failed", 502, "the aggregator failed"),
]


@pytest.mark.parametrize(("where", "kind", "options", "outcome", "status", "words"), OUTCOMES)
def test_every_outcome_without_an_answer(where, kind, options, outcome, status, words, run, question):
    kind, _, retry_after = kind.partition(",retry_after=")

    async def exchange():
        with offline.fault(where, kind, retry_after=float(retry_after) if retry_after else None):
            async with serving(PANEL | options) as (_, client):
                kinds = [(CHAT, True), (MESSAGES, False), (RESPONSES, True)]
                asked = (post(client, path, asking(path, question, stream=stream)) for path, stream in kinds)
                return zip(kinds, await asyncio.gather(*asked), strict=True)

    for (path, _), (found, headers, body) in run(exchange()):
        assert found == status, body
        assert words in body["error"]["message"]
        assert headers["content-type"].startswith("application/json"), "its head was sent before there was an answer"
        assert body["moa"]["outcome"] == headers["x-moa-outcome"] == outcome
        late = "timeout_error" if status == 504 else "api_error"
        types = {429: "rate_limit_error"} if path == MESSAGES else {429: "requests"}
        assert body["error"]["type"] == types.get(status, late if path == MESSAGES else "server_error")
        if status == 429:
            assert headers["retry-after"] == (retry_after or "1")
        else:
            assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("kind", ["truncated_stream", "error_event", "malformed_json"])
def test_an_answer_that_fails_halfway(kind, run, question):
    """Streamed, what was sent is void, and an error ends it; not streamed, the next aggregator writes the answer."""

    async def exchange():
        asked = {"model": "panel", "messages": [{"role": "user", "content": question}]}
        errors = []
        async with serving(PANEL | {"aggregator": [SOL, LUNA]}) as (server, client):
            with offline.fault(SOL, kind):
                for path in PATHS:
                    async with client.post(path, json=asking(path, question, stream=True)) as answer:
                        errors.append((answer.status, await answer.text()))
                one, two = clients(server)
                async with one, two:
                    with pytest.raises(openai.APIError, match="void"):
                        [_ async for _ in await one.chat.completions.create(**asked, stream=True)]
                    with pytest.raises(anthropic.APIStatusError, match="void"):
                        async with two.messages.stream(**asked, max_tokens=900) as stream:
                            await stream.get_final_message()
                    with pytest.raises(openai.APIError, match="void"):
                        async with one.responses.stream(model="panel", input=question) as stream:
                            await stream.get_final_response()
                return errors, await post(client, CHAT, asking(CHAT, question))

    errors, (status, _, body) = run(exchange())
    assert (status, body["moa"]["outcome"]) == (200, "complete")
    assert body["moa"]["calls"] == 5
    for found, text in errors:
        last = text.strip().split("\n\n")[-1]
        assert found == 200
        assert "The aggregator failed halfway, so the text that was sent is void" in last
        assert "[DONE]" not in text
    assert "event: error" in errors[1][1]


def test_a_mixture_that_is_asked_too_much(run):
    """Its own budget is too small for so long a prompt."""

    async def exchange():
        async with serving(PANEL | {"budget_usd": 0.06}) as (_, client):
            return [await post(client, CHAT, asking(CHAT, "Why? " * times)) for times in (1, 40_000)]

    (first, _, _), (second, _, body) = run(exchange())
    assert (first, second) == (200, 400)
    assert "budget_usd is $0.06" in body["error"]["message"]


# Not now


def test_requests_at_once(run, question):
    async def exchange():
        async with serving(max_requests=1) as (server, client):
            with offline.fault(SMALL, "hang"):
                first = asyncio.create_task(post(client, CHAT, asking(CHAT, question)))
                await until(lambda: server.gate.under_way)
                refused = [await post(client, path, asking(path, question)) for path in PATHS]
                first.cancel()
                await asyncio.wait([first])
                await until(lambda: not server.gate.under_way)
            return refused, await post(client, CHAT, asking(CHAT, question))

    refused, (status, _, _) = run(exchange())
    assert status == 200
    for found, headers, body in refused:
        assert (found, headers["retry-after"]) == (429, "1")
        assert "1 requests are under way, as many as this server takes" in body["error"]["message"]


def test_the_budget_of_a_day(run, question, monkeypatch):
    """What may be spent is set aside; what was spent counts; the next day begins anew."""
    now = [1.5 * gate.DAY]
    monkeypatch.setattr(gate, "time", SimpleNamespace(time=lambda: now[0]))
    estimate = moa.estimate(question, EVERY, SOL).most_usd

    async def exchange():
        async with serving(daily_budget_usd=estimate * 1.001) as (server, client):
            with offline.fault(SMALL, "hang"):
                first = asyncio.create_task(post(client, CHAT, asking(CHAT, question)))
                await until(lambda: server.gate.under_way)
                during = await post(client, MESSAGES, asking(MESSAGES, question))
                first.cancel()
                await asyncio.wait([first])
                await until(lambda: not server.gate.under_way)
            after = await post(client, CHAT, asking(CHAT, question))
            now[0] += gate.DAY / 2
            return during, after, await post(client, CHAT, asking(CHAT, question))

    during, after, tomorrow = run(exchange())
    assert (during[0], after[0], tomorrow[0]) == (429, 429, 200)
    assert after[2]["error"]["code"] == after[2]["error"]["type"] == "insufficient_quota"
    assert during[2]["error"]["type"] == "rate_limit_error"
    assert after[1]["retry-after"] == str(gate.DAY // 2 + 1)
    assert after[1]["x-should-retry"] == "false"


def test_the_budget_of_a_day_survives_a_restart(run, question, monkeypatch):
    """Where a store knows what was spent; without one, each start begins anew."""
    now = time.time()  # also should midnight come meanwhile
    monkeypatch.setattr(gate, "time", SimpleNamespace(time=lambda: now))
    usd = moa.estimate(question, EVERY, SOL).most_usd * 1.001

    async def asked(prompt, **settings):
        async with serving(daily_budget_usd=usd, **settings) as (_, client):
            return (await post(client, CHAT, asking(CHAT, prompt)))[0]

    async def exchange():
        answered = [await asked(question), await asked(question), await asked(question, store="a.sqlite")]
        return [*answered, await asked(question + " ", store="a.sqlite")]

    assert run(exchange()) == [200, 200, 200, 429]


def test_a_store_of_the_server_or_of_the_code_around_it(run, question, vendors):
    async def asked(**settings):
        async with serving(**settings) as (_, client):
            status, headers, body = await post(client, CHAT, asking(CHAT, question))
            assert (status, headers["x-moa-kept"]) == (200, str(body["moa"]["kept"]))
            return body["moa"]["kept"], body["moa"]["cost_usd"] == 0

    async def exchange():
        found = [await asked(), await asked(store="own.sqlite"), await asked(store="own.sqlite")]
        with moa.keep("around.sqlite"):
            found += [await asked(), await asked(), await asked(store="own.sqlite")]
            reply = await moa.ask(LUNA, question)
        async with serving(store="own.sqlite") as _:
            found.append((await moa.ask(HAIKU, question)).kept)
        return found, reply.kept

    found, kept = run(exchange())
    assert found == [(0, False), (0, False), (4, True), (0, False), (4, True), (4, True), False]
    assert kept
