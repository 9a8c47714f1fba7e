"""The wire formats of the vendors: what an answer, a stream and an error look like as bytes.

The formats are in ``wire.json`` beside this file. A text there that begins with ``$`` stands for a value.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moa_helpers.offline.faults import ERROR_TYPES


@dataclass(frozen=True)
class Plan:
    """What is to be sent: the whole text, why it ends, and the token counts."""

    id: str
    model: str
    text: str
    finish: str  # "stop", "length" or "content_filter"
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Dialect:
    """One of the formats: ``"openai"`` (which many hosts speak), ``"mistral"`` or ``"anthropic"``."""

    name: str
    with_usage: bool = True  # whether OpenAI's stream ends with the token counts

    def body(self, plan: Plan) -> Any:
        """The answer to a request without streaming."""
        return self._fill("body", plan)

    def opening(self, plan: Plan) -> bytes:
        """The stream's first events."""
        return _events(self._fill("opening", plan))

    def piece(self, plan: Plan, text: str) -> bytes:
        """An event with a piece of text."""
        return _events(self._fill("piece", plan, text=text))

    def closing(self, plan: Plan) -> bytes:
        """The events that end a stream: finish reason, token counts, and the end mark."""
        usage = self._fill("usage", plan) if self.with_usage else []
        mark = b"" if self.name == "anthropic" else b"data: [DONE]\n\n"
        return _events(self._fill("closing", plan) + usage) + mark

    def error(self, status: int, message: str) -> Any:
        """The body of an HTTP error."""
        return self._fill("error", message=message, status=str(status), error_type=ERROR_TYPES[str(status)])

    def error_event(self, message: str) -> bytes:
        """An error inside a stream."""
        return _events(self._fill("error_event", message=message))

    def _fill(self, part: str, plan: Plan | None = None, **values: Any) -> Any:
        formats = _formats()[self.name]
        if plan:
            total = plan.input_tokens + plan.output_tokens
            values = {**vars(plan), "created": int(time.time()), "total_tokens": total, **values}
            values["blocks"] = [{"type": "text", "text": plan.text}] if plan.text else []
            values["finish"] = formats.get("finish", {}).get(plan.finish, plan.finish)
        return _filled(formats[part], values)


@cache
def _formats() -> Any:
    formats = json.loads(Path(__file__).with_name("wire.json").read_text(encoding="utf-8"))
    formats["mistral"] = formats["openai"] | formats["mistral"]  # there are only the parts that differ
    return formats


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        return {name: _filled(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [_filled(part, values) for part in template]
    return values[template[1:]] if isinstance(template, str) and template.startswith("$") else template


def _events(events: list[Any]) -> bytes:
    """Server-sent events; Anthropic's, which have a type, are named after it."""
    lines = []
    for data in events:
        name = f"event: {data['type']}\n" if "type" in data else ""
        lines.append(f"{name}data: {json.dumps(data)}\n\n")
    return "".join(lines).encode()
