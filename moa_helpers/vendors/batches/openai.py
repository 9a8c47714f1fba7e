"""OpenAI's batches, by its SDK; Groq's have the same shapes. All requests of a file have to be for one model."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO

from moa_helpers.vendors.batches import NAME, Made, Result, Seen, lines, result

LINES, BYTES = 50_000, 100_000_000  # the most of a file; OpenAI takes 200 MB, Groq 100 MB
ONE_MODEL = NAMED = True
PATH = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a line of the file."""
    return {"custom_id": key, "method": "POST", "url": PATH, "body": body}


async def submit(sdk: Any, name: str, model: str, file: BinaryIO) -> str:
    """Make a job of the file; the vendor's id for it."""
    sent = await sdk.files.create(file=(f"{name}.jsonl", file, "application/jsonl"), purpose="batch")
    metadata = {NAME: name}
    job = await sdk.batches.create(input_file_id=sent.id, endpoint=PATH, completion_window="24h", metadata=metadata)
    return str(job.id)


async def made(sdk: Any, since: float) -> AsyncIterator[Made]:
    """The jobs that were made since then."""
    async for job in sdk.batches.list(limit=100):
        if job.created_at >= since:
            counts = job.request_counts
            yield Made(job.id, (job.metadata or {}).get(NAME), counts and counts.total)


async def look(sdk: Any, id: str) -> Seen:
    """The state of a job."""
    job = await sdk.batches.retrieve(id)
    end = job.completed_at or job.expired_at or job.cancelled_at or job.failed_at
    errors = (job.errors and job.errors.data) or []
    return Seen(
        job.status,
        job.status in ENDED,
        done=job.request_counts and job.request_counts.completed + job.request_counts.failed,
        seconds=float(end - job.created_at) if end else None,
        files=tuple(filter(None, (job.output_file_id, job.error_file_id))),
        refused={error.line: error.message or "" for error in errors if error.line},
        problem="; ".join(error.message or "" for error in errors[:3] if not error.line),
    )


async def cancel(sdk: Any, id: str) -> None:
    """Ask for a job's end."""
    await sdk.batches.cancel(id)


async def results(sdk: Any, file: str) -> AsyncIterator[Result]:
    """What a file of results holds."""
    async with sdk.files.with_streaming_response.content(file) as response:
        async for each in lines(response.iter_bytes()):
            yield result(each)
