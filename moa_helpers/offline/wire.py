"""The wire formats of the vendors: what an answer, a stream and an error look like as bytes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Plan:
    """What is to be sent: the whole text, why it ends, and the token counts."""

    id: str
    model: str
    text: str
    finish: str  # "stop", "length" or "content_filter"
    input_tokens: int
    output_tokens: int


class ChatCompletions:
    """OpenAI's chat completions, which many hosts speak."""

    def __init__(self, *, with_usage: bool) -> None:
        self._with_usage = with_usage

    def body(self, plan: Plan) -> dict[str, Any]:
        """The answer to a request without streaming."""
        message = {"role": "assistant", "content": plan.text}
        choice = {"index": 0, "message": message, "finish_reason": plan.finish, "logprobs": None}
        return self._envelope(plan, "chat.completion", choices=[choice], usage=self._usage(plan))

    def opening(self, plan: Plan) -> bytes:
        """The stream's first event."""
        return self._event(plan, {"role": "assistant", "content": ""})

    def piece(self, plan: Plan, text: str) -> bytes:
        """An event with a piece of text."""
        return self._event(plan, {"content": text})

    def closing(self, plan: Plan) -> bytes:
        """The events that end a stream: finish reason, usage if it was asked for, and the end mark."""
        usage = _sse(self._envelope(plan, "chat.completion.chunk", choices=[], usage=self._usage(plan)))
        return self._event(plan, {}, finish=plan.finish) + (usage if self._with_usage else b"") + b"data: [DONE]\n\n"

    def error(self, status: int, message: str) -> dict[str, Any]:
        """The body of an HTTP error."""
        return {"error": {"message": message, "type": _error_type(status), "param": None, "code": None}}

    def error_event(self, message: str) -> bytes:
        """An error inside a stream."""
        return _sse(self.error(500, message))

    def _event(self, plan: Plan, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _sse(self._envelope(plan, "chat.completion.chunk", choices=[choice]))

    def _envelope(self, plan: Plan, kind: str, **rest: Any) -> dict[str, Any]:
        return {"id": plan.id, "object": kind, "created": int(time.time()), "model": plan.model, **rest}

    def _usage(self, plan: Plan) -> dict[str, int]:
        read, written = plan.input_tokens, plan.output_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class MistralChat(ChatCompletions):
    """Mistral's chat: OpenAI's shape, with the usage in the last event and errors of its own."""

    def __init__(self) -> None:
        super().__init__(with_usage=True)

    def closing(self, plan: Plan) -> bytes:
        """The events that end a stream: finish reason and usage in one, and the end mark."""
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": plan.finish}
        last = self._envelope(plan, "chat.completion.chunk", choices=[choice], usage=self._usage(plan))
        return _sse(last) + b"data: [DONE]\n\n"

    def error(self, status: int, message: str) -> dict[str, Any]:
        """The body of an HTTP error."""
        return {"object": "error", "message": message, "type": _error_type(status), "param": None, "code": str(status)}

    def error_event(self, message: str) -> bytes:
        """An error inside a stream."""
        return _sse({"error": self.error(500, message)})


class Messages:
    """Anthropic's messages."""

    STOP_REASONS: ClassVar = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}

    def body(self, plan: Plan) -> dict[str, Any]:
        """The answer to a request without streaming."""
        content = [{"type": "text", "text": plan.text}] if plan.text else []
        usage = {"input_tokens": plan.input_tokens, "output_tokens": plan.output_tokens}
        return self._message(plan, content=content, stop_reason=self.STOP_REASONS[plan.finish], usage=usage)

    def opening(self, plan: Plan) -> bytes:
        """The stream's first events."""
        usage = {"input_tokens": plan.input_tokens, "output_tokens": 1}
        message = self._message(plan, content=[], stop_reason=None, usage=usage)
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return self._event("message_start", message=message) + self._event("content_block_start", **block)

    def piece(self, plan: Plan, text: str) -> bytes:
        """An event with a piece of text."""
        return self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def closing(self, plan: Plan) -> bytes:
        """The events that end a stream: stop reason and usage, and the end mark."""
        delta = {"stop_reason": self.STOP_REASONS[plan.finish], "stop_sequence": None}
        return (
            self._event("content_block_stop", index=0)
            + self._event("message_delta", delta=delta, usage={"output_tokens": plan.output_tokens})
            + self._event("message_stop")
        )

    def error(self, status: int, message: str) -> dict[str, Any]:
        """The body of an HTTP error."""
        return {"type": "error", "error": {"type": _error_type(status), "message": message}}

    def error_event(self, message: str) -> bytes:
        """An error inside a stream."""
        return self._event(**self.error(529, message))

    def _message(self, plan: Plan, **rest: Any) -> dict[str, Any]:
        head = {"id": plan.id, "type": "message", "role": "assistant", "model": plan.model, "stop_sequence": None}
        return head | rest

    def _event(self, type: str, **rest: Any) -> bytes:
        return f"event: {type}\n".encode() + _sse({"type": type, **rest})


Dialect = ChatCompletions | Messages


def _error_type(status: int) -> str:
    return {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "server_error",
        503: "server_error",
        529: "overloaded_error",
    }.get(status, "invalid_request_error")


def _sse(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
