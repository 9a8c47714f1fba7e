"""An answer that is arriving: the chunks of one attempt, put together."""

import time

from moa_helpers.catalogue import Model
from moa_helpers.results import Attempt, Failure
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.requests import FINISH_REASONS, Chunk


class Arriving:
    """What one attempt has brought so far."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pieces: list[str] = []
        self.began = time.perf_counter()
        self.first: float | None = None  # when the first piece of text came
        self.finish_reason: str | None = None
        self.answered_by: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def take(self, chunk: Chunk) -> None:
        """Add a piece; of each field but the text, the latest value counts."""
        if chunk.text:
            self._pieces.append(chunk.text)
            if self.first is None:
                self.first = time.perf_counter()
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.answered_by = chunk.answered_by or self.answered_by
        self.input_tokens = self.input_tokens if chunk.input_tokens is None else chunk.input_tokens
        self.output_tokens = self.output_tokens if chunk.output_tokens is None else chunk.output_tokens

    def text(self) -> str:
        """What has arrived. A character that was split between two pieces is whole again; half a one is replaced."""
        return "".join(self._pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def problem(self) -> Failure | None:
        """What is wrong with the answer if its stream has come to an end without an error."""
        reason = FINISH_REASONS.get(self.finish_reason or "")
        kind = {"content_filter": "content_filter", "error": "server_error"}.get(reason or "")
        if self.finish_reason is None:
            kind = "incomplete" if self.answered_by else "malformed"
        elif kind is None and not self.text().strip():
            kind = "empty"
        return failed(kind, self._model.name) if kind else None

    def attempt(self, zero: float, failure: Failure | None) -> Attempt:
        """The attempt as it stands now, on a clock that began at ``zero``."""
        refused = failure is not None and failure.status not in (None, 408, 504)  # these may come after a start
        known = (self.input_tokens, self.output_tokens)
        cost = 0.0 if refused else self._model.cost(*known)
        least = 0.0 if refused else self._model.cost(*(count or 0 for count in known)) or 0.0
        return Attempt(self.began - zero, time.perf_counter() - self.began, failure, cost, least)
