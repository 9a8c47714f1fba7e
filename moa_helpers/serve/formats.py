"""What is sent back, in the formats of OpenAI (chat and responses) and Anthropic; their shapes are in formats.json."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moa_helpers.offline.asked import Refused
from moa_helpers.offline.wire import Dialect, as_events, filled

PATHS = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic", "/v1/responses": "responses"}
QUOTA = "insufficient_quota"  # OpenAI's type and code where the money is spent
_SHAPES = json.loads(Path(__file__).with_name("formats.json").read_text(encoding="utf-8"))


class Writer:
    """Writes one answer in a form of ``PATHS``: whole with ``body``, or as the events of a stream."""

    def __init__(self, form: str, model: str, *, with_usage: bool = False) -> None:
        self._form, self._shapes, self._with_usage = form, _SHAPES[form], with_usage
        identity = uuid.uuid4().hex
        self._values: dict[str, Any] = {"id": self._shapes["id"] + identity, "item": f"item_{identity}"}
        self._values |= {"model": model, "created": int(time.time())}
        self._kind, self._index, self._sent, self._opened = "", -1, 0, False
        self.text = ""  # of the answer, as far as it was written

    def body(self, content: Mapping[str, Any], moa: Mapping[str, Any]) -> Any:
        """The whole answer: what ``answers.content`` and ``answers.facts`` tell of it."""
        length = content["finish"] == "length"
        self._values |= {**content, "moa": moa, "incomplete": {"reason": "max_output_tokens"} if length else None}
        self._values["finish"] = self._shapes["finish"].get(content["finish"], content["finish"])
        self._values["usage"] = filled(self._shapes["usage"], content)
        return filled(self._shapes["body"], self._values)

    def keep_alive(self) -> bytes:
        """What every client passes over, so that none takes the connection for dead."""
        ping = as_events([{"type": "ping"}]) if self._form == "anthropic" else b": the models are at work\n\n"
        return self._opening() + ping

    def write(self, kind: str, piece: str) -> bytes:
        """A piece of the answer ("text"), or of what is told while it is prepared ("thought", where there is room)."""
        if kind not in self._shapes:
            return b""
        self.text += piece if kind == "text" else ""
        begun = self._opening() + (b"" if kind == self._kind else self._change_to(kind))
        return begun + self._events(kind, piece=piece)

    def closing(self, content: Mapping[str, Any], moa: Mapping[str, Any]) -> bytes:
        """The last events; the arguments are those of ``body``."""
        ended, body = self._change_to(""), self.body(content, moa)
        last = self._events("closing", body=body, event=f"response.{self._values['finish']}")
        counted = self._events("counted") if self._with_usage else b""
        return ended + last + counted + (b"data: [DONE]\n\n" if self._form == "openai" else b"")

    def error(self, refused: Refused) -> bytes:
        """The event that ends a stream which cannot go on."""
        body = {"moa": None} | error_body(self._form, refused)
        return self._events("error", **body, code=body["error"].get("code"), message=refused.message)

    def _opening(self) -> bytes:
        """The stream's first events, the first time."""
        opened, self._opened = self._opened, True
        return b"" if opened else self._events("opening")

    def _change_to(self, kind: str) -> bytes:
        """End the part that is being written, if any, and begin another."""
        ended = self._events(f"{self._kind}_ends", text=self.text)
        self._kind, self._index = kind, self._index + 1
        return ended + self._events(f"{kind}_begins")

    def _events(self, shape: str, **values: Any) -> bytes:
        events = filled(self._shapes.get(shape, []), self._values | values | {"index": self._index})
        if self._form == "responses":
            events = [event | {"sequence_number": number} for number, event in enumerate(events, self._sent)]
            self._sent += len(events)
        return as_events(events)


def error_body(form: str, refused: Refused, identity: str = "") -> Any:
    """The body of a refusal, with ``moa`` where a mixture ran."""
    dialect = Dialect("anthropic" if form == "anthropic" else "openai")
    body = dialect.error(refused.status, refused.message, refused.param, refused.code, identity)
    if refused.code == QUOTA and form != "anthropic":
        body["error"]["type"] = QUOTA
    moa = getattr(refused, "moa", None)
    return body | {"moa": moa} if moa else body
