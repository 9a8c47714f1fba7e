"""What goes to a vendor and what comes back, in one vocabulary for all of them: a ``Request`` in, ``Chunk``s out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from moa_helpers.catalogue import Model, rows
from moa_helpers.vendors.bodies import words

MOST_TOKENS = 100_000_000  # more than any model reads or writes in one call


class Turn(NamedTuple):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Request:
    """One question for one model; bound to the client that will ask it, so that no later ``setup()`` redirects it.

    ``before`` has the turns of the conversation before the question, ``after`` what a stage of a mixture adds to it.
    """

    model: Model
    prompt: str
    system: str | None = None
    max_tokens: int = 2048
    temperature: float | None = None
    sample: int = 0  # which sample of the same question; the offline vendors answer each number differently
    offline: bool = False  # whether a stand-in answers
    here: bool = False  # whether a server on this machine answers with a real model
    sdk: Any = field(default=None, repr=False, compare=False)  # the client, once it is bound to one
    reminder: str = ""  # says the task again after the prompt, which small models need
    role: str = ""  # its part in a mixture: "layer 1", "aggregator"; part of a comparison's keys, so never rename one
    before: tuple[Turn, ...] = ()
    after: str = ""
    effort: str | None = None  # how hard the model thinks; this and the next two are those of its Member
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    settings: str = ""
    streamed: bool = field(default=True, compare=False)  # whether the answer is asked for piece by piece

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All turns, as OpenAI and Mistral take them: the system message, if any, comes first."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The same without the system message, as Anthropic takes them."""
        return [{"role": turn.role, "content": turn.text} for turn in (*self.before, Turn("user", self.asked))]

    @property
    def asked(self) -> str:
        """The user's last message: the prompt, what follows it, and for a model on this machine the reminder."""
        return "\n\n".join(filter(None, (self.prompt, self._rest)))

    @property
    def _rest(self) -> str:
        return "\n\n".join(filter(None, (self.after, self.reminder * self.here)))

    def marked(self, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The turns, with the mark of a prompt cache where that ends which the next turn of a conversation repeats.

        That is the question. What a stage adds to it follows in a part of its own, as no later turn holds it.
        """
        parts = [{"type": "text", "text": self.prompt, **mark}, {"type": "text", "text": self._rest}]
        return [*self.turns[:-1], {"role": "user", "content": parts}]

    @property
    def text(self) -> str:
        """All that the model reads."""
        parts = (self.system or "", *(turn.text for turn in self.before), self.prompt, self.after)
        return "".join(parts)

    @property
    def sampling(self) -> dict[str, Any]:
        """Temperature and effort as OpenAI and Mistral take them, or no argument: some models refuse any."""
        given = {"temperature": self.temperature, "reasoning_effort": self.effort}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def headers(self) -> dict[str, str]:
        """Offline only: equal requests get equal answers, so a second sample has to say that it is one."""
        return {"x-moa-sample": str(self.sample)} if self.offline and self.sample else {}


class Refused(Exception):
    """The vendor reported an error though its HTTP status was good: within a stream, or instead of one."""

    status_code = None  # that of the HTTP answer said that all was well

    def __init__(self, body: Any) -> None:
        super().__init__(words(body) or str(body))
        self.body = body


class Malformed(Exception):
    """What the vendor sent is no answer in its format. The message says what came instead."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer, in the vocabulary of the lesson. Only what this piece brought is set.

    A number of tokens that cannot be is unknown, so that nothing is reckoned with it; a text that is none is
    ``Malformed``.
    """

    text: str = ""
    finish_reason: str | None = None
    answered_by: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    thinking: str = ""  # what the model thinks aloud, where the vendor tells it from the answer
    thinking_tokens: int | None = None
    cached_tokens: int | None = None  # of the input tokens, those that came from the vendor's cache
    ended: bool = False  # whether the vendor's end mark came, after which an answer is complete without a reason, too
    headers: Mapping[str, str] | None = None  # of the response, what speaks of rates

    def __post_init__(self) -> None:
        for name in ("text", "thinking", "finish_reason", "answered_by"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("text", "thinking")):
                raise Malformed(f"The answer's {name.replace('_', ' ')} is no text, but {str(value)[:100]!r}.")
        for name in ("input_tokens", "output_tokens", "thinking_tokens", "cached_tokens"):
            object.__setattr__(self, name, count(getattr(self, name)))
        object.__setattr__(self, "input_tokens", self.input_tokens or None)  # no prompt has none


def about_rates(headers: Mapping[str, str]) -> dict[str, str] | None:
    """Of a response's headers those that speak of rates, by their names in small letters; None if none does."""
    small = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in small.items() if "ratelimit" in name or name == "retry-after"} or None


def count(value: object) -> int | None:
    """A number of tokens; None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MOST_TOKENS and value == int(value) else None


# Each vendor's word for why an answer ended -> one vocabulary; anything else becomes "other".
_FINISH_REASONS = {row["word"]: row["meaning"] for row in rows(Path(__file__).with_name("finish_reasons.csv"))}


def finish_reason(word: str | None) -> str | None:
    """Why an answer ended, in one vocabulary; ``content_filter: SAFETY`` has its reason first."""
    return _FINISH_REASONS.get(word.partition(":")[0].strip().lower(), "other") if word else None
