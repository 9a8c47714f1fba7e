"""The vendors' batch APIs: a file of requests goes in, and within a day its results come out, at about half the price.

Each file speaks to one SDK, by the same functions: ``line`` writes a request, ``submit`` makes a job of a file, and
``made`` lists the jobs that there are. ``look`` says what state a job is in, ``cancel`` ends it, ``results`` reads it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, NamedTuple

from moa_helpers.catalogue import Vendor
from moa_helpers.vendors.reading import mapping
from moa_helpers.vendors.requests import Request

HEADERS = ("extra_headers", "http_headers", "extra_query")  # of a Member's extra, what no line of a file can hold
NAME = "moa_job"  # under which a job's metadata has its own name


class Made(NamedTuple):
    """A job that is at a vendor: the vendor's id for it, our name if it has one, and how many requests are in it."""

    id: str
    name: str | None
    requests: int | None


@dataclass(frozen=True)
class Seen:
    """The state of a job; ``state`` is the vendor's word. ``done`` is None where no count is given before the end."""

    state: str
    ended: bool
    done: int | None = None
    seconds: float | None = None  # from its making to its end, by the vendor's clock
    files: tuple[str, ...] = ()  # of results
    refused: Mapping[int, str] = field(default_factory=dict)  # lines of its file, counted from 1, and what is wrong
    problem: str = ""  # what is wrong with all of it


class Result(NamedTuple):
    """What became of a request: the vendor's answer, or its error. With neither it was not worked on."""

    key: str
    answer: Mapping[str, Any] | None
    status: int | None = None  # HTTP's, of the error
    error: Any = None


def goes_by_batch(request: Request) -> bool:
    """Whether a request can go in a batch: its vendor has them, and all of it is in its body."""
    return request.model.vendor.batch is not None and not request.here and not {*HEADERS} & {*request.extra}


def at_batch_price(request: Request) -> Request:
    """The request as it is priced in a batch; one that cannot go so stays as it is."""
    share = request.model.vendor.batch
    return replace(request, model=request.model.times(share)) if share and goes_by_batch(request) else request


def adapter(vendor: Vendor) -> Any:
    """The file for a vendor's SDK."""
    return import_module(f"{__name__}.{vendor.api}")


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[Mapping[str, Any]]:
    """The objects in a file of JSON lines as it arrives. A line that cannot be read counts as missing."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield _object(line)
    yield _object(rest)


def result(line: Mapping[str, Any]) -> Result:
    """A line of OpenAI's or Mistral's. Of a failed request the error may be null, and only its status tell of it."""
    response = mapping(line.get("response"))
    status, body = response.get("status_code"), response.get("body")
    if isinstance(body, str):
        body = _object(body.encode())
    if status == 200 and body and not line.get("error"):
        return Result(str(line.get("custom_id")), mapping(body))
    return Result(str(line.get("custom_id")), None, status, line.get("error") or body)


def _object(line: bytes) -> Mapping[str, Any]:
    with suppress(ValueError, RecursionError):
        return mapping(json.loads(line, strict=False))
    return {}
