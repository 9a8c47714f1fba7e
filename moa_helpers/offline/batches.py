"""The vendors' batch APIs, in three dialects: files and batches, Mistral's jobs, Anthropic's message batches."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import BodyPartReader, web

from moa_helpers.offline import door
from moa_helpers.offline.asked import Refused, malformed, named, parsed, shown
from moa_helpers.offline.batch_files import File, Owner
from moa_helpers.offline.faults import Faults
from moa_helpers.offline.jobs import ENDPOINT, OVER, Answer, Job, Jobs, keep
from moa_helpers.offline.turns import dice
from moa_helpers.offline.wire import Dialect

QUICKEST, SLOWEST = 0.2, 3.0  # hours that a job takes: made up, as vendors promise no more than their window
NEVER = 1e9  # hours
CHUNK = 2**20  # bytes; more than aiohttp has read ahead, so that it never has to put some back
WINDOWS = {f"{hours}h": hours for hours in range(169)} | {f"{days}d": 24 * days for days in range(8)}
CREATED = "1970-01-02T00:00:00Z"  # after which all jobs were


class Batches:
    """The handlers of the batch APIs."""

    def __init__(self, answer: Answer, faults: Faults, speed: Callable[[], float], seed: int) -> None:
        self.jobs = Jobs(answer, speed)
        self._faults, self._seed = faults, seed

    def serve(self, application: web.Application, base: str) -> None:
        """Add the routes below a base."""
        files, post, get = f"{base}/files", application.router.add_post, application.router.add_get
        post(files, self._upload)
        get(files, self._list)
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
        owner, purpose, file = _owner(request), "", None
        if request.content_type != "multipart/form-data":
            raise malformed("a file comes as multipart/form-data")
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name == "purpose":
                    purpose = (await part.read_chunk(CHUNK)).decode(errors="replace")
                elif isinstance(part, BodyPartReader) and part.name == "file":
                    file = File(part.filename or "file", owner, self.jobs.now())
                    while data := await part.read_chunk(CHUNK):
                        file.append(data)
                        if file.size > owner.most:
                            raise web.HTTPRequestEntityTooLarge(owner.most, file.size)
        except ValueError as error:
            raise malformed(f"its form cannot be read ({str(error)[:80]})") from None
        if file is None or purpose != "batch":
            raise malformed(f"the purpose is {shown(purpose)}, and a file must come; here it must be batch", "purpose")
        keep(self.jobs.files, file)
        return web.json_response(file.shown())

    async def _file(self, request: web.Request) -> web.Response:
        file = self._found(request, self.jobs.files)
        if request.method == "DELETE":
            del self.jobs.files[file.id]
            return web.json_response(file.owner.files.of_batches("file_deleted", id=file.id))
        return web.json_response(file.shown())

    async def _content(self, request: web.Request) -> web.FileResponse:
        file = self._found(request, self.jobs.files)
        return web.FileResponse(file.path, headers={"content-type": "application/octet-stream"})

    async def _create(self, request: web.Request) -> web.Response:
        dialect, owner = door.dialect_of(request), _owner(request)
        given, inputs = await self._given(request, dialect, owner)
        first = next((line for file in inputs for _, line in file.each()), b"")
        job = Job(dialect, owner, request.headers, given, inputs, self.jobs.now())
        job.id = f"{'msgbatch' if dialect.name == 'anthropic' else 'batch'}_{uuid.uuid4().hex}"
        job.url = f"{request.scheme}://{request.host}{request.path}/{job.id}/results"
        job.window = _window(given, owner.limits)
        try:
            model = named(job.read(first)[1]["model"], owner.vendor)
            where = model.vendor.name, model.name
        except Refused:
            where = owner.vendor or dialect.name, ""
        header = request.headers.get("x-moa-fault")
        job.faults = {fault.kind for fault in self._faults.hits(["job"], *where, repr(first), header)}
        drawn = dice(self._seed, "hours", prompt=repr(first)).uniform(QUICKEST, SLOWEST)
        slow = {"never_starts": NEVER, "expired": 2.0 * job.window}
        job.hours = max([drawn, *(slow[kind] for kind in slow.keys() & job.faults)])
        if dialect.name == "anthropic":
            await job.check()
            if job.problems:
                line, message = job.problems[0]["line"], job.problems[0]["message"]
                raise Refused(400, f"requests{f'.{line - 1}' if line else ''}: {message}")
        self.jobs.add(job)
        return web.json_response(job.shown())

    async def _given(self, request: web.Request, dialect: Dialect, owner: Owner) -> tuple[dict[str, Any], list[File]]:
        """What a job is given, and the files with its requests; those in the same body, maybe many, go into one."""
        lines = File("requests", owner, self.jobs.now())

        def apart(item: dict[str, Any]) -> dict[str, Any] | None:
            if "custom_id" not in item or not item.keys() & {"params", "body"}:
                return item
            lines.append(json.dumps(item).encode() + b"\n")
            return None

        body = await request.clone(client_max_size=owner.most).read()
        given = {"input_files": []} | await asyncio.to_thread(parsed, body, request.headers, apart)
        requests, names = given.pop("requests", None), given["input_files"] or [given.get("input_file_id")]
        if dialect.name != "anthropic" and given.get("endpoint") != ENDPOINT:
            raise malformed(f"the endpoint is {shown(given.get('endpoint'))}; here it must be {ENDPOINT}", "endpoint")
        if not isinstance(given.get("metadata"), dict | None):
            raise malformed("metadata must be an object", "metadata", "invalid_type")
        if requests and requests == [None] * lines.lines:
            return given, [lines]
        if requests or dialect.name == "anthropic" or not isinstance(names, list):
            raise malformed("requests must be objects with a custom_id, and with what each asks", "requests")
        return given, [self._found(request, self.jobs.files, str(name)) for name in names]

    def _found(self, request: web.Request, table: Mapping[str, Any], name: str | None = None) -> Any:
        name = name or request.match_info["id"]
        if name not in table or not _own(request, table[name]):
            raise Refused(404, f"There is no file or batch {shown(name)}.", code="not_found")
        return table[name]

    async def _list(self, request: web.Request) -> web.Response:
        """A page of the files or of the jobs, the newest first."""
        query, files = request.query, request.path.endswith("/files")
        table: list[File | Job] = [*self.jobs.files.values()] if files else [*self.jobs.known.values()]
        try:
            since = datetime.fromisoformat(query.get("created_after", CREATED)).timestamp()
            found = [each for each in reversed(table) if each.created >= since and _own(request, each)]
            ids = [each.id for each in found]
            size = int(query.get("limit") or query.get("page_size") or 20)
            begin = int(query.get("page", 0)) * size
            if size < 1 or begin < 0:
                raise ValueError("a page has a size from 1, and a number from 0")
            if after := query.get("after") or query.get("after_id"):
                begin = ids.index(after) + 1
            if before := query.get("before_id"):
                begin = max(0, ids.index(before) - size)
        except ValueError as error:
            raise malformed(f"there is no such page ({str(error)[:80]})", code="invalid_value") from None
        page, more = found[begin : begin + size], begin + size < len(found)
        ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {}
        values = {"data": [each.shown() for each in page], "has_more": more, "total": len(found)} | ends
        dialect = _owner(request).files if files else door.dialect_of(request)
        return web.json_response(dialect.of_batches("files" if files else "jobs", **values))

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


def _owner(request: web.Request) -> Owner:
    return Owner(door.vendor_of(request), door.key_of(request))


def _own(request: web.Request, each: File | Job) -> bool:
    of_format = isinstance(each, File) or each.dialect == door.dialect_of(request)
    return of_format and each.owner == _owner(request)


def _window(given: Mapping[str, Any], limits: Mapping[str, str]) -> int:
    """The hours within which a batch is done, or expires."""
    window = given.get("completion_window") or f"{given.get('timeout_hours', 24)}h"
    least, most = int(limits["least_hours"]), int(limits["most_hours"])
    if not least <= (hours := WINDOWS.get(str(window), 0)) <= most:
        raise malformed(f"the window must be a whole number of hours from {least} to {most}", "completion_window")
    return hours
