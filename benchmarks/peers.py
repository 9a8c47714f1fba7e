"""The contenders: what people write today, each as its documentation would have a newcomer do it, and ours.

Each has ``fan_out`` (ask all models at once) and ``mixture`` (then have one model write an answer out of theirs). With
``hardened`` a contender gets what its libraries offer against trouble: time-outs, retries, and failed models left out.
``pace`` scales every time-out and pause, so that they fit vendors that run faster than the real ones.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common import MAX_TOKENS, base_url, use

TIMEOUT = 60.0  # seconds, of those that set one
SYNTHESISE = (
    "Several models answered the user's question; their answers follow. Combine what is right in them into one good "
    "answer. Some of it may be biased or wrong.\n"
)


@dataclass
class Result:
    """What a mixture gave; ``said`` is what it says about itself, where the text is not the plain whole synthesis."""

    text: str | None  # some vendors' empty answers come as None
    references: list[str | None]
    said: str = ""


class Peer:
    """What all peers do in the same way."""

    name = ""

    def __init__(self, url: str, pace: float = 1.0, hardened: bool = False) -> None:
        self.url, self.pace, self.hardened = url, pace, hardened

    async def one(self, model: str, prompt: str, system: str | None = None) -> str:
        """The text of one call."""
        raise NotImplementedError

    async def fan_out(self, models: Sequence[str], prompt: str) -> list[str]:
        """The answers of all models."""
        calls = (self.one(model, prompt) for model in models)
        answers = await asyncio.gather(*calls, return_exceptions=self.hardened)
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def mixture(self, prompt: str, models: Sequence[str], aggregator: str) -> Result:
        """One answer out of all models' answers."""
        references = await self.fan_out(models, prompt)
        system = SYNTHESISE + "\n".join(f"{number}. {text}" for number, text in enumerate(references, 1))
        return Result(await self.one(aggregator, prompt, system), references)

    async def close(self) -> None:
        """Close what holds connections."""


def _messages(prompt: str, system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": prompt}]


class Naive(Peer):
    """The common fifty lines: the vendors' asynchronous clients, a loop around rate limits, ``asyncio.gather``."""

    name = "naive recipe"

    def __init__(self, url: str, pace: float = 1.0, hardened: bool = False) -> None:
        super().__init__(url, pace, hardened)
        from anthropic import AsyncAnthropic
        from mistralai.client import Mistral
        from openai import AsyncOpenAI

        # By default the SDKs of OpenAI and Anthropic retry twice and wait 600 s a read; Mistral's does neither.
        limits: dict[str, Any] = {"timeout": TIMEOUT * pace, "max_retries": 2} if hardened else {}
        patience: dict[str, Any] = {"timeout_ms": int(TIMEOUT * pace * 1000)} if hardened else {}
        self.openai = AsyncOpenAI(base_url=base_url(url, "openai"), api_key="dummy", **limits)
        self.anthropic = AsyncAnthropic(base_url=base_url(url, "anthropic"), api_key="dummy", **limits)
        self.mistral = Mistral(server_url=base_url(url, "mistral"), api_key="dummy", **patience)

    async def one(self, model: str, prompt: str, system: str | None = None) -> str:
        """One call; a rate limit is slept over, three times at most."""
        for pause in (1, 2, 4):
            try:
                response = await self._call(*model.split(":", 1), prompt, system)
                break
            except Exception as error:
                if getattr(error, "status_code", None) != 429:
                    raise
                await asyncio.sleep(pause * self.pace)
        return response  # after three rate limits there is no such variable: that is how it is commonly written

    async def _call(self, vendor: str, model: str, prompt: str, system: str | None) -> str:
        messages: Any = _messages(prompt, system)
        if vendor == "anthropic":
            instruction: Any = {"system": system} if system else {}
            message = await self.anthropic.messages.create(
                model=model, messages=messages[-1:], max_tokens=MAX_TOKENS, **instruction
            )
            return message.content[0].text
        if vendor == "mistral":
            answer = await self.mistral.chat.complete_async(model=model, messages=messages, max_tokens=MAX_TOKENS)
        else:
            answer = await self.openai.chat.completions.create(
                model=model, messages=messages, max_completion_tokens=MAX_TOKENS
            )
        return answer.choices[0].message.content

    async def close(self) -> None:
        """Close the clients."""
        for client in (self.openai, self.anthropic, self.mistral):
            await client.__aexit__(None, None, None)


class LiteLLM(Peer):
    """``litellm.acompletion`` for each model, in ``asyncio.gather``."""

    name = "litellm"

    def __init__(self, url: str, pace: float = 1.0, hardened: bool = False) -> None:
        super().__init__(url, pace, hardened)
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a price list when it is imported
        import litellm

        litellm.suppress_debug_info = True
        self.litellm = litellm
        self.limits: dict[str, Any] = {"timeout": TIMEOUT * pace, "num_retries": 2} if hardened else {}

    def _to(self, model: str) -> dict[str, Any]:
        vendor, _, name = model.partition(":")
        address = base_url(self.url, vendor) + ("/v1" if vendor == "mistral" else "")
        return {
            "model": f"{vendor}/{name}",
            "api_base": address,
            "api_key": "dummy",
            "max_completion_tokens": MAX_TOKENS,
        }

    async def one(self, model: str, prompt: str, system: str | None = None) -> str:
        """One call."""
        answer = await self.litellm.acompletion(**self._to(model), messages=_messages(prompt, system), **self.limits)
        return answer.choices[0].message.content

    async def stream(self, model: str, prompt: str) -> str:
        """One call, streamed."""
        chunks = await self.litellm.acompletion(
            **self._to(model), messages=_messages(prompt, None), stream=True, stream_options={"include_usage": True}
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


class LangChain(Peer):
    """LangChain's chat models in a ``RunnableParallel``."""

    name = "LangChain"

    def __init__(self, url: str, pace: float = 1.0, hardened: bool = False) -> None:
        super().__init__(url, pace, hardened)
        from langchain_core.runnables import RunnableLambda, RunnableParallel

        self._parallel, self._nothing = RunnableParallel, RunnableLambda(lambda prompt: None)
        self._models: dict[str, Any] = {}
        self._branches: dict[tuple[str, ...], Any] = {}

    def _model(self, model: str) -> Any:
        if model not in self._models:
            vendor, _, name = model.partition(":")
            address = base_url(self.url, vendor)
            limits: dict[str, Any] = {"timeout": TIMEOUT * self.pace, "max_retries": 2} if self.hardened else {}
            if vendor == "anthropic":
                from langchain_anthropic import ChatAnthropic

                made: Any = ChatAnthropic(
                    model=name, base_url=address, api_key="dummy", max_tokens=MAX_TOKENS, stream_usage=True, **limits
                )
            elif vendor == "mistral":
                from langchain_mistralai import ChatMistralAI

                if self.hardened:
                    limits["timeout"] = max(1, round(limits["timeout"]))  # it takes whole seconds only
                made = ChatMistralAI(
                    model=name, endpoint=f"{address}/v1", api_key="dummy", max_tokens=MAX_TOKENS, **limits
                )
            else:
                from langchain_openai import ChatOpenAI

                made = ChatOpenAI(
                    model=name, base_url=address, api_key="dummy", max_tokens=MAX_TOKENS, stream_usage=True, **limits
                )
            self._models[model] = made
        return self._models[model]

    async def one(self, model: str, prompt: str, system: str | None = None) -> str:
        """One call."""
        return str((await self._model(model).ainvoke(_messages(prompt, system))).text)

    async def stream(self, model: str, prompt: str) -> str:
        """One call, streamed."""
        return "".join([str(chunk.text) async for chunk in self._model(model).astream(_messages(prompt, None))])

    async def fan_out(self, models: Sequence[str], prompt: str) -> list[str]:
        """All models as branches of one runnable."""
        key = tuple(models)
        if key not in self._branches:
            branches = {str(place): self._model(model) for place, model in enumerate(models)}
            if self.hardened:
                branches = {place: branch.with_fallbacks([self._nothing]) for place, branch in branches.items()}
            self._branches[key] = self._parallel(branches)
        answers = await self._branches[key].ainvoke(prompt)
        return [str(answer.text) for answer in answers.values() if answer is not None]


class Ours(Peer):
    """``moa_helpers``; ``options`` go to ``fan_out`` and ``mixture_of_agents``."""

    name = "ours"

    def __init__(self, url: str, pace: float = 1.0, **options: Any) -> None:
        super().__init__(url, pace)
        use(url)
        self.options = {"timeout": TIMEOUT * pace, "max_tokens": MAX_TOKENS} | options

    async def replies(self, models: Sequence[str], prompt: str) -> Any:
        """The replies, failed ones included."""
        import moa_helpers as moa

        return await moa.fan_out(models, prompt, **self.options)

    async def fan_out(self, models: Sequence[str], prompt: str) -> list[str]:
        """The good answers."""
        return [reply.text for reply in (await self.replies(models, prompt)).good]

    async def mixture(self, prompt: str, models: Sequence[str], aggregator: str) -> Result:
        """The answer, or the labelled substitute where there is no synthesis."""
        import moa_helpers as moa

        answer = await moa.mixture_of_agents(prompt, models, aggregator, **self.options)
        references = [reply.text for layer in answer.layers for reply in layer]
        substitute = getattr(answer, "substitute", None)
        if answer.text or substitute is None:
            cut = bool(answer.aggregator and answer.aggregator.truncated)
            return Result(answer.text, references, answer.heading if cut or not answer.text else "")
        return Result(substitute.text, references, answer.heading)

    async def close(self) -> None:
        """Close the clients."""
        import moa_helpers as moa

        await moa.close()
