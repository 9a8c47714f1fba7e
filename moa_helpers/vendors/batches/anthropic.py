"""Anthropic's batches of messages, by its SDK. A job has no name, and no count before its end."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO

from moa_helpers.vendors.batches import Made, Result, Seen, lines
from moa_helpers.vendors.reading import mapping

LINES, BYTES = 100_000, 32_000_000  # the vendor takes 256 MB; but its SDK takes them as objects, not as a file
ONE_MODEL, NAMED = False, False


def line(key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a line of the file."""
    return {"custom_id": key, "params": body}


async def submit(sdk: Any, name: str, model: str, file: BinaryIO) -> str:
    """Make a job of the file; the vendor's id for it."""
    job = await sdk.messages.batches.create(requests=[json.loads(each) for each in file])
    return str(job.id)


async def made(sdk: Any, since: float) -> AsyncIterator[Made]:
    """The jobs that were made since then."""
    async for job in sdk.messages.batches.list(limit=100):
        if job.created_at.timestamp() >= since:
            yield Made(job.id, None, sum(dict(job.request_counts).values()))


async def look(sdk: Any, id: str) -> Seen:
    """The state of a job."""
    job = await sdk.messages.batches.retrieve(id)
    ended = job.processing_status == "ended"
    return Seen(
        job.processing_status,
        ended,
        done=sum(dict(job.request_counts).values()) if ended else None,
        seconds=(job.ended_at - job.created_at).total_seconds() if job.ended_at else None,
        files=(id,) if ended and job.results_url else (),
    )


async def cancel(sdk: Any, id: str) -> None:
    """Ask for a job's end."""
    await sdk.messages.batches.cancel(id)


async def results(sdk: Any, file: str) -> AsyncIterator[Result]:
    """What a job gave, whose id serves as that of its file of results."""
    async with sdk.messages.batches.with_streaming_response.results(file) as response:
        async for each in lines(response.iter_bytes()):
            found = mapping(each.get("result"))
            answer = found.get("message") if found.get("type") == "succeeded" else None
            yield Result(str(each.get("custom_id")), answer and mapping(answer), error=found.get("error"))
