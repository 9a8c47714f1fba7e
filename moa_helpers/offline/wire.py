"""The wire formats of the vendors: what an answer, a stream, a list of models and an error look like as bytes.

The formats are in ``wire.json`` beside this file. A text there that begins with ``$`` stands for a value.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import Model, rows

_ERRORS = {int(row["status"]): row for row in rows(Path(__file__).with_name("errors.csv"))}


@dataclass(frozen=True)
class Choice:
    """One answer: its text, why it ends ("stop", "length" or "content_filter"), and the stop text that ended it."""

    text: str
    finish: str
    stop: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be sent: the answers, usually one, and the token counts."""

    id: str
    model: str
    created: int  # seconds since 1970
    choices: tuple[Choice, ...]
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None  # of the input tokens; None: unknown
    created_tokens: int  # of the input tokens, those that the vendor now keeps


@dataclass(frozen=True)
class Dialect:
    """One of the formats: ``"openai"`` (which many hosts speak), ``"mistral"`` or ``"anthropic"``."""

    name: str
    with_usage: bool = True  # whether OpenAI's stream ends with the token counts

    def body(self, plan: Plan) -> Any:
        """The answer to a request without streaming."""
        choices = [
            self._fill("choice", plan, number)
            for number, choice in enumerate(plan.choices)
            if choice.text or self.name != "anthropic"
        ]
        return self._fill("body", plan, choices=choices)

    def opening(self, plan: Plan) -> bytes:
        """The stream's first events."""
        return self._each("opening", plan)

    def piece(self, plan: Plan, text: str, number: int = 0) -> bytes:
        """An event with a piece of the text of one of the answers."""
        return self._events(self._fill("piece", plan, number, text=text))

    def closing(self, plan: Plan) -> bytes:
        """The events that end a stream: finish reason, token counts, and the end mark."""
        usage = as_events(self._fill("usage", plan)) if self.with_usage else b""
        return self._each("closing", plan) + usage + (b"" if self.name == "anthropic" else b"data: [DONE]\n\n")

    def error(
        self, status: int, message: str, param: str | None = None, code: str | None = None, request_id: str = ""
    ) -> Any:
        """The body of an HTTP error."""
        if self.name == "anthropic" and param and not message.startswith(param):
            message = f"{param}: {message}"  # the format has no place of its own for it
        of = _ERRORS[status]
        code = code or of["openai_code"] or None
        kind = of[f"{self.name}_type"]
        values = {"status": str(status), "type": kind, "param": param, "code": code, "request_id": request_id}
        return filled(_formats()[self.name]["error"], values | {"message": message})

    def error_event(self, message: str) -> bytes:
        """An error inside a stream."""
        return as_events(filled(_formats()[self.name]["error_event"], {"message": message}))

    def request_id_header(self) -> str:
        """The header that names a request."""
        return str(_formats()[self.name]["request_id_header"])

    def listed(self, model: Model) -> Any:
        """A model as an entry of a list."""
        retires = f"{model.shutdown_date}T00:00:00Z" if model.shutdown_date else None
        values = vars(model) | {"vendor": model.vendor.name, "retires": retires, "notes": model.notes or None}
        values["lifecycle"] = "deprecated" if retires else "active"
        return filled(_formats()[self.name]["listed"], values)

    def listing(self, models: Sequence[Model]) -> Any:
        """A list of models."""
        ends = {"first_id": models[0].id, "last_id": models[-1].id} if models else {"first_id": None, "last_id": None}
        return filled(_formats()[self.name]["list"], ends | {"models": [self.listed(model) for model in models]})

    def of_batches(self, part: str, **values: Any) -> Any:
        """A part of the format of the batch APIs, where a value that is not given is null; None: it has none."""
        return filled(_formats()[self.name][part], defaultdict(lambda: None, values))

    def _each(self, part: str, plan: Plan) -> bytes:
        return b"".join(self._events(self._fill(part, plan, number)) for number in range(len(plan.choices)))

    def _events(self, events: Sequence[Any]) -> bytes:
        """Events before the one with the token counts: OpenAI, asked for those, sends a null in all others."""
        if self.name == "openai" and self.with_usage:
            events = [event | {"usage": None} for event in events]
        return as_events(events)

    def _fill(self, part: str, plan: Plan, number: int = 0, **more: Any) -> Any:
        formats, choice = _formats()[self.name], plan.choices[number]
        values = {**vars(plan), **vars(choice), "index": number, **more}
        values["total_tokens"] = plan.input_tokens + plan.output_tokens
        values["fresh_tokens"] = plan.input_tokens - (plan.cached_tokens or 0) - plan.created_tokens
        finish = "stop_sequence" if choice.stop and self.name == "anthropic" else choice.finish
        values["finish"] = formats.get("finish", {}).get(finish, finish)
        return filled(formats[part], values)


@cache
def _formats() -> Any:
    formats = json.loads(Path(__file__).with_name("wire.json").read_text(encoding="utf-8"))
    formats["mistral"] = formats["openai"] | formats["mistral"]  # there are only the parts that differ
    return formats


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with the values in place of their names."""
    if isinstance(template, dict):
        return {name: filled(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [filled(part, values) for part in template]
    return values[template[1:]] if isinstance(template, str) and template.startswith("$") else template


def as_events(events: Sequence[Any]) -> bytes:
    """Server-sent events; Anthropic's, which have a type, are named after it."""
    lines = []
    for data in events:
        name = f"event: {data['type']}\n" if "type" in data else ""
        lines.append(f"{name}data: {json.dumps(data)}\n\n")
    return "".join(lines).encode()
