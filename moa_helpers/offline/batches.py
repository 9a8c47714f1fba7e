"""The vendors' batch APIs, in three dialects: files and batches, Mistral's jobs, Anthropic's message batches."""

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import BodyPartReader, web

from moa_helpers.offline import door
from moa_helpers.offline.asked import Refused, malformed, named, parsed, shown
from moa_helpers.offline.batch_files import File
from moa_helpers.offline.faults import Faults
from moa_helpers.offline.jobs import ENDPOINT, LIMITS, OVER, Answer, Job, Jobs, keep
from moa_helpers.offline.turns import dice
from moa_helpers.offline.wire import Dialect

QUICKEST, SLOWEST = 0.2, 3.0  # hours that a job takes: made up, as vendors promise no more than their window
NEVER = 1e9  # hours
CHUNK = 2**20  # bytes; more than aiohttp has read ahead, so that it never has to put some back


class Batches:
    """The handlers of the batch APIs."""

    def __init__(self, answer: Answer, faults: Faults, speed: Callable[[], float], seed: int) -> None:
        self.jobs = Jobs(answer, speed)
        self._faults, self._seed = faults, seed

    def serve(self, application: web.Application, base: str) -> None:
        """Add the routes below a base."""
        files, post, get = f"{base}/files", application.router.add_post, application.router.add_get
        post(files, self._upload)
        get(files, self._files)
        get(f"{files}/{{id}}/content", self._content)
        get(f"{files}/{{id}}", self._file)
        application.router.add_delete(f"{files}/{{id}}", self._file)
        for jobs in (f"{base}/batches", f"{base}/batch/jobs", f"{base}/messages/batches"):
            post(jobs, self._create)
            get(jobs, self._list)
            get(f"{jobs}/{{id}}", self._job)
            post(f"{jobs}/{{id}}/cancel", self._cancel)
            if not jobs.endswith("/v1/batches"):  # OpenAI deletes none
                application.router.add_delete(f"{jobs}/{{id}}", self._delete)
        get(f"{jobs}/{{id}}/results", self._results)

    async def _upload(self, request: web.Request) -> web.Response:
        owner, most, purpose, file = _owner(request), _most(request), "", None
        if request.content_type != "multipart/form-data":
            raise malformed("a file comes as multipart/form-data")
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name == "purpose":
                    purpose = (await part.read_chunk(CHUNK)).decode(errors="replace")
                elif isinstance(part, BodyPartReader) and part.name == "file":
                    file = File(part.filename or "file", owner, self.jobs.now())
                    while (data := await part.read_chunk(CHUNK)) and file.size <= most:
                        file.append(data)
        except ValueError as error:
            raise malformed(f"its form cannot be read ({str(error)[:80]})") from None
        if file is None or purpose != "batch":
            raise malformed(f"the purpose is {shown(purpose)}, and a file must come; here it must be batch", "purpose")
        if file.size > most:
            raise web.HTTPRequestEntityTooLarge(most)
        keep(self.jobs.files, file)
        return web.json_response(file.shown(_of_files(request)))

    async def _files(self, request: web.Request) -> web.Response:
        owner, dialect = _owner(request), _of_files(request)
        files = [file for file in reversed(self.jobs.files.values()) if file.owner == owner]
        return _page(request, dialect, "files", [file.shown(dialect) for file in files])

    async def _file(self, request: web.Request) -> web.Response:
        file = self._found(request, self.jobs.files)
        if request.method == "DELETE":
            del self.jobs.files[file.id]
            return web.json_response(Dialect("openai").of_batches("file_deleted", id=file.id))
        return web.json_response(file.shown(_of_files(request)))

    async def _content(self, request: web.Request) -> web.FileResponse:
        file = self._found(request, self.jobs.files)
        return web.FileResponse(file.path, headers={"content-type": "application/octet-stream"})

    async def _create(self, request: web.Request) -> web.Response:
        dialect, vendor, limits = door.dialect_of(request), door.vendor_of(request), _limits(request)
        given, lines = await self._given(request)
        if dialect.name != "anthropic" and given.get("endpoint") != ENDPOINT:
            raise malformed(f"the endpoint is {shown(given.get('endpoint'))}; here it must be {ENDPOINT}", "endpoint")
        if not isinstance(given.get("metadata"), dict | None):
            raise malformed("metadata must be an object", "metadata", "invalid_type")
        inputs = [lines] if lines.lines else self._inputs(request, given)
        first = next((line for file in inputs for _, line in file.each()), b"")
        identity = f"{'msgbatch' if dialect.name == 'anthropic' else 'batch'}_{uuid.uuid4().hex}"
        url = f"{request.scheme}://{request.host}{request.path}/{identity}/results"
        where = _owner(request), request.headers
        job = Job(
            dialect, vendor, *where, given, inputs, limits, self.jobs.now(), identity, url, _window(given, limits)
        )
        try:
            model = named(job.read(first)[1]["model"], vendor)
            hit = model.vendor.name, model.name
        except Refused:
            hit = vendor or dialect.name, ""
        job.faults = self._faults.of_job(*hit, repr(first), request.headers.get("x-moa-fault"))
        job.hours = dice(self._seed, "hours", prompt=repr(first)).uniform(QUICKEST, SLOWEST)
        if slow := job.faults & {"expired", "never_starts"}:
            job.hours = NEVER if "never_starts" in slow else 2 * job.window
        if dialect.name == "anthropic":
            await job.check()
            if job.problems:
                line, message = job.problems[0]["line"], job.problems[0]["message"]
                raise Refused(400, f"requests{f'.{line - 1}' if line else ''}: {message}")
        self.jobs.add(job)
        return web.json_response(job.shown())

    async def _given(self, request: web.Request) -> tuple[dict[str, Any], File]:
        """What a job is given; the requests that are in the same body, maybe many, go into a file."""
        lines, body = (
            File("requests", _owner(request), self.jobs.now()),
            await request.clone(client_max_size=_most(request)).read(),
        )

        def apart(item: dict[str, Any]) -> dict[str, Any] | None:
            if "custom_id" not in item or not item.keys() & {"params", "body"}:
                return item
            lines.append(json.dumps(item).encode() + b"\n")
            return None

        given = {"input_files": []} | await asyncio.to_thread(parsed, body, request.headers, apart)
        requests = given.pop("requests", None)
        if requests and requests != [None] * lines.lines:
            raise malformed(
                "each of its requests must be an object with a custom_id, and with what it asks", "requests"
            )
        return given, lines

    def _inputs(self, request: web.Request, given: Mapping[str, Any]) -> list[File]:
        """The files that have a job's requests."""
        names = given["input_files"] or [given.get("input_file_id")]
        if door.dialect_of(request).name == "anthropic" or not isinstance(names, list):
            raise malformed("it holds no requests", "requests", "missing_required_parameter")
        return [self._found(request, self.jobs.files, str(name)) for name in names]

    def _found(self, request: web.Request, table: Mapping[str, Any], name: str | None = None) -> Any:
        """A file or job of whoever asks; one of another key is not there."""
        name = name or request.match_info["id"]
        found = table.get(name)
        other = isinstance(found, Job) and found.dialect != door.dialect_of(request)
        if found is None or found.owner != _owner(request) or other:
            raise Refused(404, f"There is nothing named {shown(name)}.", code="not_found")
        return found

    async def _list(self, request: web.Request) -> web.Response:
        owner, dialect = _owner(request), door.dialect_of(request)
        try:
            since = datetime.fromisoformat(request.query.get("created_after", "1970-01-02T00:00:00Z")).timestamp()
        except ValueError:
            raise malformed("created_after must be a date and time", "created_after", "invalid_value") from None
        known = [job for job in reversed(self.jobs.known.values()) if job.created >= since]
        jobs = [job for job in known if (job.owner, job.dialect) == (owner, dialect)]
        return _page(request, dialect, "jobs", [job.shown() for job in jobs])

    async def _job(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known)
        return web.json_response(job.shown(inline=request.query.get("inline") == "true"))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known)
        if job.state in OVER:
            raise Refused(409, "The batch is over: it cannot be canceled any more.")
        if job.state != "canceling":
            job.turned("canceling", self.jobs.now())
        return web.json_response(job.shown())

    async def _delete(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known)
        if job.state not in OVER:
            raise Refused(409, "The batch is under way: cancel it first.")
        del self.jobs.known[job.id]
        return web.json_response(job.dialect.of_batches("job_deleted", id=job.id))

    async def _results(self, request: web.Request) -> web.FileResponse:
        job = self._found(request, self.jobs.known)
        if job.state not in OVER:
            raise Refused(400, "The batch has no results before it has ended.")
        file = self._found(request, self.jobs.files, job.results["result"].id)
        return web.FileResponse(file.path, headers={"content-type": "application/x-jsonl"})


def _owner(request: web.Request) -> str:
    """Whoever asks, of which vendor: nobody else sees a file or a job."""
    return f"{door.vendor_of(request)} {door.key_of(request)}"


def _of_files(request: web.Request) -> Dialect:
    """The format of a file: Mistral's has all that OpenAI's has."""
    return Dialect("mistral" if door.vendor_of(request) in (None, "mistral") else "openai")


def _limits(request: web.Request) -> Mapping[str, str]:
    """What the vendor takes; of one that is not named, what its format's does."""
    return LIMITS.get(door.vendor_of(request) or door.dialect_of(request).name) or LIMITS["others"]


def _most(request: web.Request) -> int:
    """How many bytes the vendor takes at once."""
    return int(float(_limits(request)["megabytes"]) * 2**20)


def _page(request: web.Request, dialect: Dialect, part: str, found: Sequence[Any]) -> web.Response:
    """A page of a list whose newest entry comes first."""
    query, ids = request.query, [each["id"] for each in found]
    try:
        size = int(query.get("limit") or query.get("page_size") or 20)
        begin = int(query.get("page", 0)) * size
        if after := query.get("after") or query.get("after_id"):
            begin = ids.index(after) + 1
        if before := query.get("before_id"):
            begin = max(0, ids.index(before) - size)
    except ValueError as error:
        raise malformed(f"there is no such page ({str(error)[:80]})", code="invalid_value") from None
    if size < 1 or begin < 0:
        raise malformed("a page has a size from 1, and a number from 0", code="invalid_value")
    page = found[begin : begin + size]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    values = {"data": page, "has_more": begin + size < len(found), "total": len(found)}
    return web.json_response(dialect.of_batches(part, **ends, **values))


def _window(given: Mapping[str, Any], limits: Mapping[str, str]) -> int:
    """The hours within which a batch is done, or expires."""
    found = re.fullmatch(
        r"(\d{1,3})([hd])", str(given.get("completion_window") or f"{given.get('timeout_hours', 24)}h")
    )
    hours, most = int(found[1]) * {"h": 1, "d": 24}[found[2]] if found else 0, int(limits["hours"])
    if not 1 <= hours <= most:
        raise malformed(f"the window must be a whole number of hours, at most {most}", "completion_window")
    return hours
