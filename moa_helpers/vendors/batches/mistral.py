"""Mistral's batch jobs, by its SDK. All requests of a job are for one model, which is named beside its file."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, BinaryIO

from moa_helpers.vendors.batches import NAME, Made, Result, Seen, lines, result

LINES, BYTES = 100_000, 100_000_000  # the vendor's pages name 100,000 requests and 1,000,000: this is the smaller
ONE_MODEL = NAMED = True
ENDED = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")
PAGE = 100
_LINE = re.compile(r"(?i)line (\d+)\b")


def line(key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a line of the file."""
    return {"custom_id": key, "body": {name: value for name, value in body.items() if name != "model"}}


async def submit(sdk: Any, name: str, model: str, file: BinaryIO) -> str:
    """Make a job of the file; the vendor's id for it."""
    sent = await sdk.files.upload_async(file={"file_name": f"{name}.jsonl", "content": file}, purpose="batch")
    job = await sdk.batch.jobs.create_async(
        endpoint="/v1/chat/completions", model=model, input_files=[sent.id], metadata={NAME: name}, timeout_hours=24
    )
    return str(job.id)


async def made(sdk: Any, since: float) -> AsyncIterator[Made]:
    """The jobs that were made since then."""
    after = datetime.fromtimestamp(since, UTC)
    for page in count():
        listed = await sdk.batch.jobs.list_async(page=page, page_size=PAGE, created_after=after)
        for job in listed.data or ():
            yield Made(job.id, (job.metadata or {}).get(NAME), job.total_requests)
        if not listed.data:
            break


async def look(sdk: Any, id: str) -> Seen:
    """The state of a job."""
    job = await sdk.batch.jobs.get_async(job_id=id)
    state = str(getattr(job.status, "value", job.status))
    return Seen(
        state,
        state in ENDED,
        done=job.completed_requests,
        seconds=float(job.completed_at - job.created_at) if job.completed_at else None,
        files=tuple(filter(None, (job.output_file, job.error_file))),
        refused={int(found[1]): error.message for error in job.errors or () if (found := _LINE.match(error.message))},
        problem="; ".join(error.message for error in (job.errors or [])[:3]),
    )


async def cancel(sdk: Any, id: str) -> None:
    """Ask for a job's end."""
    await sdk.batch.jobs.cancel_async(job_id=id)


async def results(sdk: Any, file: str) -> AsyncIterator[Result]:
    """What a file of results holds."""
    response = await sdk.files.download_async(file_id=file)
    try:
        async for each in lines(response.aiter_bytes()):
            yield result(each)
    finally:
        await response.aclose()
