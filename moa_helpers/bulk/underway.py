"""The jobs at the vendors: submitted, looked at until they end, and read. Each result is kept at once."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, BinaryIO, TypeVar

from moa_helpers.bulk.work import Work
from moa_helpers.limits.tasks import pause
from moa_helpers.offline.jobs import HOUR
from moa_helpers.results import Failure, Reply
from moa_helpers.store.jobs import Item, Job, Ledger
from moa_helpers.vendors.arriving import Arriving
from moa_helpers.vendors.batches import Result, Seen, adapter, at_batch_price
from moa_helpers.vendors.errors import RETRIED, explain
from moa_helpers.vendors.requests import Refused, Request
from moa_helpers.vendors.settings import current, priced, reach
from moa_helpers.vendors.streams import client
from moa_helpers.vendors.whole import chunks

PACE = (2.0, 60.0)  # seconds between two looks, fewest and most; they grow while nothing happens
OFFLINE = (0.05, 0.5)  # the same for the embedded vendors, whose clock is fast
ANSWERS, SENDS = 120.0, 1800.0  # seconds that a vendor has to answer, and to take or give a file
AROUND = 300.0  # seconds by which the clocks of a vendor and of this machine may differ
AT_ONCE = 200  # results that are written together
T = TypeVar("T")


class UnderWay:
    """The jobs under way. One that is older than ``patience``, in hours, is cancelled."""

    def __init__(self, ledger: Ledger, work: Work, patience: float) -> None:
        self._ledger, self._work, self._offline = ledger, work, current().mode == "offline"
        self._hour, self._pace = (HOUR, OFFLINE) if self._offline else (3600.0, PACE)
        self._patience, self._wait, self._due = patience * self._hour, 0.0, 0.0
        self._others: set[str] = set()  # jobs at a vendor that turned out not to be ours

    @property
    def jobs(self) -> list[Job]:
        """The jobs under way in this mode."""
        return [job for job in self._ledger.jobs() if job.offline == self._offline]

    def check(self) -> None:
        """Raise ValueError if jobs of an earlier start were submitted with another key."""
        for job in self.jobs:
            if job.key_mark != key_mark(job.model):
                raise _unknown(job, "was submitted with another key.")

    async def submit(self, job: Job, file: BinaryIO) -> None:
        """Submit a job that the ledger has."""
        vendor, sdk = at(job)
        file.seek(0)
        found = await _told(job, vendor.submit(sdk, job.name, priced(job.model).id, file), SENDS)
        if not isinstance(found, Failure):
            self._ledger.note(job, id=found, state="running")
            self._wait = self._due = 0.0
        elif found.kind not in RETRIED:
            named = re.search(r"\brequests\.(\d+)\b", found.message)  # Anthropic names the wrong request so
            refused = named and self._ledger.refuse(job, int(named[1]) + 1, found)
            self._ledger.end(job, None if refused else found)
        # otherwise the vendor may have taken it: it is searched for

    async def look(self) -> bool:
        """Look at all jobs, if it is time. Returns whether one has ended."""
        if time.perf_counter() < self._due:
            return False
        least, most = self._pace
        self._wait = min(max(self._wait * 1.5, least), most)
        jobs = self.jobs
        self._work.waiting = f"{len(jobs):,} jobs under way, {sum(job.requests for job in jobs):,} requests"
        ended = [await self._look(job) for job in jobs]
        self._due = time.perf_counter() + self._wait
        return any(ended)

    async def until_due(self) -> None:
        """Wait until it is time for the next look."""
        await pause(self._due - time.perf_counter())

    async def _look(self, job: Job) -> bool:
        """Look at a job. Returns whether it has ended."""
        if job.id is None:
            found = await _told(job, self._search(job))
            if isinstance(found, Failure):
                return self._unseen(job, found)
            if not found:
                self._ledger.end(job, None)
            return not found
        vendor, sdk = at(job)
        seen = await _told(job, vendor.look(sdk, job.id))
        if isinstance(seen, Failure):
            return self._unseen(job, seen)
        job = self._ledger.note(job, said=seen.state, done=seen.done)
        if seen.ended:
            read = await _told(job, self._read(job, seen), SENDS)
            return self._unseen(job, read, reading=True) if isinstance(read, Failure) else True
        late = time.time() - job.made - self._patience
        if late > self._hour and job.state == "cancelling":  # it does not end
            self._ledger.end(job, _void(job.model, seen))
            return True
        if late > 0 and job.state == "running":
            await _told(job, vendor.cancel(sdk, job.id))
            self._ledger.note(job, state="cancelling")
        return False

    def _unseen(self, job: Job, failure: Failure, *, reading: bool = False) -> bool:
        """A vendor did not answer, or does not know a job or its results. Returns whether that ends the job."""
        if failure.kind in RETRIED:
            self._wait = max(self._wait, failure.retry_after or 0.0)
            return False
        if failure.kind == "not_found" and (reading or job.offline):
            self._ledger.end(job, failure)
            return True
        raise _unknown(job, f"cannot be looked at. {failure.message}")

    async def _read(self, job: Job, seen: Seen) -> None:
        """Keep the results of a job that has ended. A request without a result may be asked again."""
        vendor, sdk = at(job)
        came, ours = False, not self._ledger.untouched(job)
        for file in seen.files:
            async with aclosing(_together(vendor.results(sdk, file))) as found:
                async for some in found:
                    items = self._ledger.open(job, [*some])
                    came, ours = True, ours or bool(items)
                    replies = {key: self._reply(item, some[key], job, seen) for key, item in items.items()}
                    self._ledger.settle(replies)
                    for key, reply in replies.items():
                        self._work.count(reply, items[key].usd)
                    await asyncio.sleep(0)
        refused = False
        for line, problem in seen.refused.items():
            why = f"{job.model}: bad_request: line {line} of its batch was refused: {problem}"
            refused = self._ledger.refuse(job, line, Failure("bad_request", why)) or refused
        self._wait = 0.0
        if came and not ours:  # it was only found by the number of its requests
            self._others.add(job.id or "")
            self._ledger.note(job, id=None, state="submitting")
        else:
            self._ledger.end(job, None if refused else _void(job.model, seen))

    def _reply(self, item: Item, result: Result, job: Job, seen: Seen) -> Reply:
        """The result of a request, as the reply of a call."""
        request = at_batch_price(Request(priced(item.model), "", offline=self._offline))
        now, failure = Arriving(request.model), None
        took = time.time() - job.made if seen.seconds is None else seen.seconds
        try:
            if result.answer:
                for chunk in chunks(request, result.answer):
                    now.take(chunk)
                failure = now.problem()
            else:
                refused = Refused(result.error)
                refused.status_code = result.status  # type: ignore[assignment]
                known = result.status or result.error
                failure = explain(refused, item.model) if known else _void(item.model, seen)
        except Exception as error:  # so that the other results are read
            failure = explain(error, item.model)
        tried = replace(now.attempt(0.0, failure), started=0.0, elapsed=took)
        if not result.answer:
            tried = replace(tried, cost_usd=0.0, least_usd=0.0)
        cost: dict[str, Any] = {"cost_usd": tried.cost_usd, "least_usd": tried.least_usd, "attempts": (tried,)}
        return Reply(item.model, **now.fields(), **cost, elapsed=took, failure=failure, offline=self._offline)

    async def _search(self, job: Job) -> bool:
        """Find a job whose submission was not confirmed. Returns whether the vendor has it."""
        vendor, sdk = at(job)
        owned = {each.id for each in self._ledger.jobs("id IS NOT NULL")} | self._others
        async for made in vendor.made(sdk, job.made - AROUND):
            same = made.name == job.name if vendor.NAMED else made.requests == job.requests
            if same and made.id not in owned:
                self._ledger.note(job, id=made.id, state="running")
                return True
        return False


async def _told(job: Job, asking: Coroutine[Any, Any, T], within: float = ANSWERS) -> T | Failure:
    """What a vendor said, or why it did not. An error of the store is raised."""
    try:
        async with asyncio.timeout(within):
            return await asking
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
            raise
        return explain(error, job.model)


def at(job: Job) -> tuple[Any, Any]:
    """The file for a job's SDK, and the client to give it."""
    model = priced(job.model)
    return adapter(model.vendor), client(model)


def key_mark(model: str) -> str:
    """A mark that tells a vendor's key from another, and from which no key can be guessed."""
    return hashlib.sha256(str(reach(model).get("api_key")).encode()).hexdigest()[:8]


def _unknown(job: Job, why: str) -> ValueError:
    number = f"{job.requests:,} requests of {job.vendor}"
    return ValueError(
        f"A job with {number} ({job.id or job.name}) {why} Set the key that it was submitted with, and run moa.setup() "
        "again. Or give the job up with `await moa.jobs(path).cancel()`: what it has answered is lost then."
    )


def _void(model: str, seen: Seen) -> Failure:
    """Why a request has no result."""
    why = seen.problem or f"its batch ended as {seen.state!r} without it."
    return Failure("timeout", f"{model}: timeout: {why} The next start asks it again; raise patience= to wait longer.")


async def _together(results: AsyncIterator[Result]) -> AsyncGenerator[dict[str, Result], None]:
    """Results by their keys, in groups. If a key appears twice, the first result counts."""
    some: dict[str, Result] = {}
    async for each in results:
        some.setdefault(each.key, each)
        if len(some) == AT_ONCE:
            yield some
            some = {}
    yield some
