"""An answer that is arriving: the chunks of one attempt, put together."""

import time
from typing import Any

from moa_helpers.catalogue import Model
from moa_helpers.results import Attempt, Failure
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.requests import Chunk, Malformed, finish_reason
from moa_helpers.vendors.thinking import Splitter, split, whole

ALL_THINKING = (
    "{}: empty: all that came was the model's thinking ({:,} characters, kept in .thinking), and no answer. "
    "Raise max_tokens=, as thinking counts, too; or have the model think less, or use another."
)
LONGEST = 4_000_000  # characters of an answer with its thinking; no model writes so much in one call


class Arriving:
    """What one attempt has brought so far."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._content = Splitter()
        self._thoughts: list[str] = []  # that the vendor told from the answer
        self._size = 0
        self._fields: dict[str, Any] | None = None  # once they are asked for, until more arrives
        self._output_tokens: int | None = None
        self._thinking_tokens: int | None = None
        self.began = time.perf_counter()
        self.first: float | None = None  # when the first piece of the answer came
        self.finish_reason: str | None = None
        self.answered_by: str | None = None
        self.input_tokens: int | None = None
        self.cached_tokens: int | None = None

    def take(self, chunk: Chunk) -> list[str | None]:
        """Add a piece, and give what can be passed on of the answer; None where all before was no answer after all.

        Of reason and name the latest counts, of token counts the largest: some hosts end with a zero.
        """
        self._fields = None
        self.answered_by = whole(chunk.answered_by or "") or self.answered_by
        for name in ("input_tokens", "cached_tokens", "_output_tokens", "_thinking_tokens"):
            known, new = getattr(self, name), getattr(chunk, name.lstrip("_"))
            setattr(self, name, new if known is None else max(known, new or 0))
        if chunk.thinking:
            self._thoughts.append(chunk.thinking)
        self._size += len(chunk.text) + len(chunk.thinking)
        if self._size > LONGEST:
            raise Malformed(f"The answer has more than {LONGEST:,} characters, and does not end.")
        began = self._size or self.answered_by
        self.finish_reason = chunk.finish_reason or self.finish_reason or ("stop" if chunk.ended and began else None)
        if not (chunk.text or chunk.finish_reason or chunk.ended):
            return []
        ready = self._content.add(chunk.text, last=self.finish_reason is not None)
        for piece in ready:
            self.first = None if piece is None else self.first or time.perf_counter()
        return ready

    @property
    def output_tokens(self) -> int | None:
        """The number of output tokens; zero is none where something came."""
        return self._output_tokens or (None if self._size else self._output_tokens)

    @property
    def thinking_tokens(self) -> int | None:
        """The number of these that were thinking; zero is none where the model thought aloud."""
        return self._thinking_tokens or (None if self.thinking() else self._thinking_tokens)

    def text(self) -> str:
        """The answer so far, without what the model thought aloud."""
        return split(self._content.text)[1]

    def thinking(self) -> str:
        """What the model has thought aloud so far."""
        told = "\n\n".join(filter(None, split(whole("".join(self._thoughts)).strip())))
        tagged = split(self._content.text)[0]
        return "\n\n".join(filter(None, dict.fromkeys([told, tagged])))  # some hosts send the same in both ways

    def fields(self) -> dict[str, Any]:
        """What is known so far, as fields of a ``Reply``."""
        if self._fields is not None:
            return self._fields
        names = ("answered_by", "input_tokens", "output_tokens", "thinking_tokens", "cached_tokens")
        known = {name: getattr(self, name) for name in names}
        if (self.cached_tokens or 0) > (self.input_tokens or 0):  # which cannot be
            known["cached_tokens"] = None
        texts = {"text": self.text(), "thinking": self.thinking()}
        self._fields = known | texts | {"finish_reason": finish_reason(self.finish_reason)}
        return self._fields

    def problem(self) -> Failure | None:
        """What is wrong with the answer if its stream has come to an end without an error."""
        name, reason = self._model.name, finish_reason(self.finish_reason)
        kind = {"content_filter": "content_filter", "error": "server_error"}.get(reason or "")
        if self.finish_reason is None:
            kind = "incomplete" if self.answered_by or self._size else "malformed"
        elif kind is None and not self.text().strip():
            if thinking := self.thinking():
                return Failure("empty", ALL_THINKING.format(name, len(thinking)))
            kind = "empty"
        return failed(kind, name) if kind else None

    def attempt(self, zero: float, failure: Failure | None) -> Attempt:
        """The attempt as it is now, on a clock that began at ``zero``."""
        refused = failure is not None and failure.status not in (None, 408, 504)  # these may come after a start
        known = (self.input_tokens, self.output_tokens)
        cost = 0.0 if refused else self._model.cost(*known)
        least = 0.0 if refused else self._model.cost(*(count or 0 for count in known)) or 0.0
        return Attempt(self.began - zero, time.perf_counter() - self.began, failure, cost, least)
