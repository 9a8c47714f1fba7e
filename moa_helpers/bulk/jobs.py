"""The jobs under way at the vendors: listed and cancelled."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from moa_helpers.bulk.underway import at
from moa_helpers.shown import Shown, lesson
from moa_helpers.store.answers import Answers
from moa_helpers.store.jobs import Job, Ledger
from moa_helpers.ui.cards import STAND_INS, Card, card
from moa_helpers.vendors.errors import RETRIED, explain
from moa_helpers.vendors.settings import current

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("vendor", "id", "state", "requests", "done", "submitted", "hours")


def jobs(path: str | Path = "answers.sqlite") -> "Jobs":
    """The jobs (batches at vendors) of ``answer_all`` with this file whose results were not read yet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError, OSError: it is not of this kind, or cannot be read.
    """
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(f"There is no file {path}: give the path that answer_all was given.")
    with closing(Answers(path)) as store:
        return Jobs(Path(path), Ledger(store).jobs())


class Jobs(Shown):
    """Jobs under way, as they were when last looked at. Iterate over it, or see ``table()``."""

    _views = __name__

    def __init__(self, path: Path, found: list[Job]) -> None:
        self.path, self._found = path, found

    def __iter__(self) -> Iterator[Job]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def table(self) -> "pd.DataFrame":
        """One row a job. ``done`` is how many of its requests have ended, if that is known; ``hours`` is its age."""
        with lesson():
            import pandas as pd
        return pd.DataFrame(map(_row, self), columns=COLUMNS).astype({"done": "Int64"})

    async def cancel(self, *ids: str) -> None:
        """Cancel some of them, or all. The next ``answer_all`` reads what they have answered, and asks the rest again.

        Stop an ``answer_all`` that is still at work first: it would ask the rest again at once. A job is given up if
        its vendor does not know it, as after a change of key. What it has answered is lost then.

        Args:
            ids: the vendor's ids of the jobs; none: all.

        Raises:
            ValueError: no job has this id, or it was submitted in the other mode, live or offline.
        """
        chosen = [job for job in self if not ids or job.id in ids]
        if unknown := {*ids} - {job.id for job in chosen}:
            there = ", ".join(str(job.id) for job in self) or "none"
            raise ValueError(f"No job under way has the id {unknown.pop()!r}; there are: {there}.")
        if any(job.offline != (current().mode == "offline") for job in chosen):
            raise ValueError("A job was submitted in the other mode: run moa.setup() with 'live' or 'offline' first.")
        with closing(Answers(self.path)) as store:
            ledger = Ledger(store)
            for job in chosen:
                await _cancel(ledger, job)


async def _cancel(ledger: Ledger, job: Job) -> None:
    try:
        if job.id is not None:
            vendor, sdk = at(job)
            await vendor.cancel(sdk, job.id)
            ledger.note(job, state="cancelling")
            return
    except Exception as error:
        if explain(error, job.model).kind in RETRIED:
            raise
    ledger.end(job, None, "given up")


def _row(job: Job) -> tuple[str, str | None, str, int, int | None, datetime, float]:
    made = datetime.fromtimestamp(job.made, UTC)
    hours = round((time.time() - job.made) / 3600, 2)
    state = job.said if job.said and job.state == "running" else job.state
    return job.vendor, job.id, state, job.requests, job.done, made, hours


@card.register
def _(jobs: Jobs) -> Card:
    rows = [
        (vendor, id or "", state, f"{requests:,}", "not told yet" if done is None else f"{done:,}")
        for vendor, id, state, requests, done, _, _ in map(_row, jobs)
    ]
    offline = STAND_INS * any(job.offline for job in jobs)
    heading = f"{len(jobs):,} jobs under way, {sum(job.requests for job in jobs):,} requests{offline}"
    return Card(heading, COLUMNS[:5], rows)
