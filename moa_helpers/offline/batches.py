"""The vendors' batch APIs, in three dialects: files and batches, Mistral's jobs, Anthropic's message batches."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import BodyPartReader, web

from moa_helpers.offline import door
from moa_helpers.offline.asked import Refused, malformed, named, parsed, shown
from moa_helpers.offline.batch_files import File, apart
from moa_helpers.offline.faults import Faults
from moa_helpers.offline.jobs import LIMITS, OVER, QUICKEST, SLOWEST, Answer, Job, Jobs
from moa_helpers.offline.turns import dice
from moa_helpers.offline.wire import Dialect

ENDPOINT = "/v1/chat/completions"
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
        for path in (f"{base}/batches", f"{base}/batch/jobs", f"{base}/messages/batches"):
            post(path, self._create)
            get(path, self._list)
            post(f"{path}/{{id}}/cancel", self._cancel)
            get(f"{path}/{{id}}", self._job)
            if not path.endswith("/v1/batches"):  # OpenAI deletes none
                application.router.add_delete(f"{path}/{{id}}", self._delete)
        get(f"{path}/{{id}}/results", self._results)
        get(f"{files}/{{id}}/content", self._content)
        get(f"{files}/{{id}}", self._file)
        application.router.add_delete(f"{files}/{{id}}", self._file)

    async def _upload(self, request: web.Request) -> web.Response:
        owner, dialect, most = _owner(request), _of_files(request), _bytes(request, Dialect("openai"))
        if request.content_type != "multipart/form-data":
            raise malformed("a file comes as multipart/form-data")
        purpose, file = None, None
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    continue
                if part.name == "purpose":
                    purpose = (await part.read_chunk(CHUNK))[:100].decode(errors="replace")
                elif part.name == "file":
                    file = File(part.filename or "file", owner, self.jobs.now())
                    while data := await part.read_chunk(CHUNK):
                        file.append(data)
                        if file.size > most:
                            raise Refused(413, f"The file is too large: it may have {most // 2**20} MB.")
        except ValueError as error:
            raise malformed(f"its form cannot be read ({str(error)[:80]})") from None
        if file is None or purpose != "batch":
            raise malformed(f"the purpose is {shown(purpose)}, and a file must come; here it must be batch", "purpose")
        self.jobs.keep(file)
        return web.json_response(_shown(file, dialect))

    async def _files(self, request: web.Request) -> web.Response:
        owner, dialect = _owner(request), _of_files(request)
        files = [file for file in reversed(self.jobs.files.values()) if file.owner == owner]
        return _page(request, dialect, "files", files, lambda file: _shown(file, dialect))

    async def _file(self, request: web.Request) -> web.Response:
        file = self._found(request, self.jobs.files, "file")
        if request.method == "DELETE":
            del self.jobs.files[file.id]
            return web.json_response(Dialect("openai").of_batches("file_deleted", id=file.id))
        return web.json_response(_shown(file, _of_files(request)))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        return await _sent(request, self._found(request, self.jobs.files, "file"), "application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        dialect, owner, vendor = door.dialect_of(request), _owner(request), door.vendor_of(request)
        given, inline = await self._read(request, dialect, owner)
        inputs = self._inputs(given, inline, dialect, owner)
        first = next((line for file in inputs for _, line in file.each()), b"")
        job = Job(dialect, vendor, owner, request.headers, given, inputs, self.jobs.now())
        job.window = _window(given, dialect, job.limits)
        try:
            job.faults = self._faults.of_job(*_whose(first, job), repr(first), request.headers.get("x-moa-fault"))
        except ValueError as error:
            raise Refused(400, str(error)) from None
        drawn = dice(self._seed, "hours", prompt=repr(first)).uniform(QUICKEST, SLOWEST)
        job.hours = 2 * job.window if "expired" in job.faults else drawn
        job.id = f"{'msgbatch' if dialect.name == 'anthropic' else 'batch'}_{uuid.uuid4().hex}"
        job.url = f"{request.scheme}://{request.host}{request.path}/{job.id}/results"
        if dialect.name == "anthropic":
            await self.jobs.check(job)
            if job.problems:
                line, message = job.problems[0]["line"], job.problems[0]["message"]
                raise Refused(400, f"requests{f'.{line - 1}' if line else ''}: {message}")
        self.jobs.add(job)
        return web.json_response(job.shown())

    async def _read(self, request: web.Request, dialect: Dialect, owner: str) -> tuple[dict[str, Any], File | None]:
        """What a job is given, and the file with the requests that came in the same body, if any."""
        if dialect.name == "openai":
            return parsed(await request.read(), request.headers), None
        body, most = bytearray(), _bytes(request, dialect)
        async for data in request.content.iter_chunked(2**16):
            body += data
            if len(body) > most:
                raise Refused(413, f"The request is too large: it may have {most // 2**20} MB.")
        lines = File("requests", owner, self.jobs.now())
        try:
            given = await apart(body.decode("utf-8-sig"), lines)
        except (ValueError, RecursionError) as error:
            raise malformed(f"its JSON cannot be read ({str(error)[:80]})") from None
        return given, lines if given.pop("requests", None) else None

    def _inputs(self, given: dict[str, Any], inline: File | None, dialect: Dialect, owner: str) -> list[File]:
        """The files with a job's requests."""
        if dialect.name == "anthropic" and inline is None:
            raise malformed("requests must be a list", "requests", "missing_required_parameter")
        if dialect.name != "anthropic" and given.get("endpoint") != ENDPOINT:
            raise malformed(f"the endpoint is {shown(given.get('endpoint'))}; here it must be {ENDPOINT}", "endpoint")
        if not isinstance(given.get("metadata"), dict | None):
            raise malformed("metadata must be an object", "metadata", "invalid_type")
        names = [given.get("input_file_id")] if dialect.name == "openai" else given.setdefault("input_files", [])
        if inline is not None:
            return [inline]
        if not isinstance(names, list) or not names:
            raise malformed("it names no file with requests", "input_files", "missing_required_parameter")
        files = [file for file in map(self.jobs.files.get, map(str, names)) if file and file.owner == owner]
        if len(files) < len(names):
            raise Refused(404, "There is no such file with requests.", "input_file_id", "not_found")
        return files

    def _found(self, request: web.Request, table: Mapping[str, Any], what: str) -> Any:
        """A file or job of whoever asks; one of another key is not there."""
        owner, found = _owner(request), table.get(request.match_info["id"])
        other = isinstance(found, Job) and found.dialect != door.dialect_of(request)
        if found is None or found.owner != owner or other:
            raise Refused(404, f"There is no {what} {shown(request.match_info['id'])}.", code="not_found")
        return found

    async def _list(self, request: web.Request) -> web.Response:
        owner, dialect = _owner(request), door.dialect_of(request)
        try:
            since = datetime.fromisoformat(request.query.get("created_after", "1970-01-02T00:00:00Z")).timestamp()
        except ValueError:
            raise malformed("created_after must be a date and time", "created_after", "invalid_value") from None
        known = [job for job in reversed(self.jobs.known.values()) if job.created >= since]
        jobs = [job for job in known if (job.owner, job.dialect) == (owner, dialect)]
        return _page(request, dialect, "jobs", jobs, Job.shown)

    async def _job(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known, "batch")
        return web.json_response(job.shown(inline=request.query.get("inline") == "true"))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known, "batch")
        if job.state in OVER:
            raise Refused(409, "The batch is over: it cannot be canceled any more.")
        if job.state != "canceling":
            job.turned("canceling", self.jobs.now())
        return web.json_response(job.shown())

    async def _delete(self, request: web.Request) -> web.Response:
        job = self._found(request, self.jobs.known, "batch")
        if job.state not in OVER:
            raise Refused(409, "The batch is under way: cancel it first.")
        del self.jobs.known[job.id]
        return web.json_response(job.dialect.of_batches("job_deleted", id=job.id))

    async def _results(self, request: web.Request) -> web.StreamResponse:
        job = self._found(request, self.jobs.known, "batch")
        if job.state not in OVER:
            raise Refused(400, "The batch has no results before it has ended.")
        if "results_gone" in job.faults:
            raise Refused(404, "The results of this batch are no longer there (a fault on demand).", code="not_found")
        return await _sent(request, job.results["result"], "application/x-jsonl")


def _owner(request: web.Request) -> str:
    """Whoever asks, of which vendor: nobody else sees a file or a job."""
    return f"{door.vendor_of(request)} {door.key_of(request)}"


def _of_files(request: web.Request) -> Dialect:
    """The format of a file: Mistral's has all that OpenAI's has."""
    return Dialect("mistral" if door.vendor_of(request) in (None, "mistral") else "openai")


def _bytes(request: web.Request, dialect: Dialect) -> int:
    """How many bytes a vendor takes at once."""
    return int((LIMITS.get(door.vendor_of(request) or dialect.name) or LIMITS["others"])["megabytes"]) * 2**20


def _shown(file: File, dialect: Dialect) -> Any:
    values = {"id": file.id, "bytes": file.size, "created_at": int(file.created), "filename": file.name}
    values |= {"purpose": "batch" if file.kind == "request" else "batch_output", "num_lines": file.lines}
    values |= {"sample_type": f"batch_{file.kind}", "source": "upload" if file.kind == "request" else "mistral"}
    return dialect.of_batches("file", **values)


def _page(
    request: web.Request, dialect: Dialect, part: str, found: Sequence[Any], show: Callable[[Any], Any]
) -> web.Response:
    """A page of a list whose newest entry comes first."""
    query, ids = request.query, [each.id for each in found]
    name, usual = ("page_size", 100) if dialect.name == "mistral" else ("limit", 20 if part == "jobs" else 10_000)
    size = _whole(query, name, usual, 1)
    begin = _whole(query, "page", 0, 0) * size
    if after := query.get("after") or query.get("after_id"):
        begin = (*ids, after).index(after) + 1
    if before := query.get("before_id"):
        begin = max(0, (*ids, before).index(before) - size)
    page = found[begin : begin + size]
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {"first_id": None, "last_id": None}
    values = {"data": [show(each) for each in page], "has_more": begin + size < len(found), "total": len(found)}
    return web.json_response(dialect.of_batches(part, **ends | values))


def _whole(query: Mapping[str, str], name: str, usual: int, least: int) -> int:
    text = query.get(name, str(usual))
    if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
        raise malformed(f"{name} is {shown(text)}; it must be a whole number from {least}", name, "invalid_value")
    return int(text)


def _window(given: dict[str, Any], dialect: Dialect, limits: Mapping[str, str]) -> float:
    """The hours within which a batch is done, or expires."""
    most, hours = int(limits["hours"]), given.get("timeout_hours", 24)
    if dialect.name == "openai":
        window = given.get("completion_window")
        found = re.fullmatch(r"(\d{1,3})([hd])", window) if isinstance(window, str) else None
        hours = int(found[1]) * (24 if found[2] == "d" else 1) if found else None
    if not isinstance(hours, int) or not 1 <= hours <= most or (dialect.name == "openai" and hours < 24):
        raise malformed(f"the window must be a whole number of hours, at most {most}", "completion_window")
    return hours


def _whose(first: bytes, job: Job) -> tuple[str, str]:
    """The vendor and the model of the first line of a job, for its faults."""
    try:
        line = parsed(first, {})
        body = line.get("params") or line.get("body") or {}
        model = named(body.get("model") or job.given.get("model"), job.vendor)
    except (Refused, AttributeError):
        return job.vendor or job.dialect.name, ""
    return model.vendor.name, model.name


async def _sent(request: web.Request, file: File, kind: str) -> web.StreamResponse:
    """Send a file, piece by piece."""
    response = web.StreamResponse(headers={"content-type": kind})
    response.content_length = file.size
    await response.prepare(request)
    for place in range(0, file.size, 2**16):
        await response.write(file.read(place, 2**16))
    await response.write_eof()
    return response
