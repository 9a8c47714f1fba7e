"""Faults on demand: which request fails, and how."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import VENDORS, rows
from moa_helpers.offline.asked import Refused
from moa_helpers.offline.turns import Turns, dice

_ROWS = rows(Path(__file__).with_name("faults.csv"))
OF = {row["kind"]: row["of"] for row in _ROWS}  # a call, which an item of a batch is, too; an item; or a whole job
KINDS = {row["kind"]: row["meaning"] for row in _ROWS if row["of"] == "call"}
BATCH_KINDS = {row["kind"]: row["meaning"] for row in _ROWS if row["of"] != "call"}
DRAWN = [kind for kind in KINDS if kind != "any"]
TEXTS = ("liar", "injector", "length", "any")
OPTIONS: dict[str, Callable[[str], Any]] = {"retry_after": float, "times": int, "chance": float}
LONGEST_WAIT = 1e9  # seconds of retry_after


@dataclass
class Fault:
    """A fault at a vendor (``"mistral"``), a model (``"mistral:model-id"``) or everywhere (``"*"``)."""

    where: str
    kind: str
    retry_after: float | None = None  # seconds, sent as Retry-After
    times: int | None = None  # how many requests it hits; None: all
    chance: float = 1.0  # the share of the requests that it may hit, drawn with the seed

    def __post_init__(self) -> None:
        self.kind = str(self.kind)
        if self.where != "*" and self.where.partition(":")[0] not in VENDORS:
            known = f"one of the vendors {', '.join(VENDORS)}, nor its model"
            raise ValueError(f"{self.where!r} is neither '*' nor {known}.")
        if self.kind not in OF:
            raise ValueError(f"There is no fault {self.kind!r}; there are {', '.join(OF)}.")
        if not 0 <= self.chance <= 1:
            raise ValueError(f"The chance of a fault is {self.chance}; it must be from 0 to 1.")
        if self.retry_after is not None and not 0 <= self.retry_after <= LONGEST_WAIT:
            raise ValueError(f"A fault's retry_after is {self.retry_after}; it is from 0 to {LONGEST_WAIT:g} seconds.")
        if self.times is not None and self.times < 0:
            raise ValueError(f"A fault's times is {self.times}; it must be 0 or more.")


class Faults:
    """The faults that are switched on.

    Whether a fault with a ``chance`` hits depends on the seed, the model, the prompt and how often that model was asked
    that prompt. So the order in which different questions come in changes nothing.
    """

    def __init__(self, text: str = "", seed: int = 0) -> None:
        self._active = parse(text)
        self._seed = seed
        self._turns = Turns()

    def next(self, vendor: str, model_name: str, prompt: str = "", header: str | None = None) -> Fault | None:
        """The fault that hits this call, if any."""
        return next(self.hits(["call"], vendor, model_name, prompt, header), None)

    def hits(
        self, of: Collection[str], vendor: str, model_name: str, prompt: str, header: str | None = None
    ) -> Iterator[Fault]:
        """The faults of calls, items or jobs that hit a request or a job; one in its own header comes first."""
        try:
            of_request = parse(f"*={header}") if header else []
        except ValueError as error:
            raise Refused(400, str(error)) from None
        number = self._turns.next(model_name, prompt)
        for fault in of_request + self._active:
            if OF[fault.kind] not in of or fault.where not in ("*", vendor, model_name) or fault.times == 0:
                continue
            drawn = dice(self._seed, f"{fault.where}={fault.kind}", model_name, number, prompt=prompt)
            if drawn.random() < fault.chance:
                if fault.times is not None:
                    fault.times -= 1
                yield replace(fault, kind=drawn.choice(DRAWN)) if fault.kind == "any" else fault

    def of_text(self) -> list[tuple[str, str, float]]:
        """The faults that are on and change what an answer says, but leave it an answer: where, kind and chance."""
        return [(each.where, each.kind, each.chance) for each in self._active if each.kind in TEXTS]

    @contextmanager
    def switched_on(self, fault: Fault) -> Iterator[None]:
        """Switch a fault on inside a ``with`` block."""
        self._active.insert(0, fault)
        try:
            yield
        finally:
            self._active = [other for other in self._active if other is not fault]


def parse(text: str) -> list[Fault]:
    """Read faults as in ``mistral=429,retry_after=2,times=1; openai:model-id=hang; *=any,chance=0.1``.

    The kinds in ``KINDS`` hit calls, and the items of a batch as well. Those in ``BATCH_KINDS`` hit items alone, or, as
    ``faults.csv`` says, a batch as a whole, whose model is that of its first line.
    """
    faults = []
    for entry in filter(None, re.split(r"\s*;\s*", text.strip())):
        where, _, rest = entry.partition("=")
        kind, *options = rest.split(",")
        given = dict(option.partition("=")[::2] for option in options)
        if unknown := [name for name in given if name not in OPTIONS]:
            raise ValueError(f"A fault takes retry_after, times and chance, not {', '.join(unknown)}.")
        faults.append(Fault(where, kind, **{name: _number(name, value) for name, value in given.items()}))
    return faults


def _number(name: str, text: str) -> Any:
    try:
        return OPTIONS[name](text)
    except ValueError:
        kind = "a whole number" if OPTIONS[name] is int else "a number"
        raise ValueError(f"A fault's {name} is {text[:40]!r}; it must be {kind}.") from None
