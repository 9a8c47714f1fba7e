"""The door of the embedded vendors: who may come in, and how a refusal is said in the format of each vendor."""

import re
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from moa_helpers.catalogue import VENDORS
from moa_helpers.offline.asked import Refused, shown
from moa_helpers.offline.wire import Dialect

SERVED = (
    "POST /v1/chat/completions, POST /v1/messages, GET /v1/models, and the batch APIs (/v1/files and /v1/batches, "
    "/v1/messages/batches, /v1/batch/jobs); each also after a vendor, as in /openai/v1"
)
LOOPBACK = re.compile(r"(https?://)?(localhost\.?|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
MESSAGES = re.compile(r"/messages(/count_tokens|/batches(/.*)?)?$")


@web.middleware
async def opened(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let in what comes from this machine, and say every refusal in the vendor's own format."""

    async def let_in(request: web.Request) -> web.StreamResponse:
        check_loopback(request)
        return await handler(request)

    answer = await answered(request, let_in, SERVED)
    if not isinstance(answer, Refused):
        return answer
    dialect, identity = dialect_of(request, answer.vendor), _new_id()
    body = dialect.error(answer.status, answer.message, answer.param, answer.code, identity)
    headers = answer.headers | {dialect.request_id_header(): identity}
    return web.json_response(body, status=answer.status, headers=headers)


def check_loopback(request: web.Request) -> None:
    """Refuse what comes from elsewhere: no web page may use a server here behind the back of its reader."""
    for name in ("Host", "Origin"):
        for place in request.headers.getall(name, ()):
            if not LOOPBACK.fullmatch(place):
                words = f"Only this machine may ask: {name} is {shown(place)}, which is not on loopback."
                raise Refused(403, words, code="not_loopback")


async def answered(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], served: str
) -> web.StreamResponse | Refused:
    """What a handler answers, or why the request is refused; ``served`` says what is served."""
    try:
        return await handler(request)
    except Refused as refused:
        return refused
    except web.HTTPRequestEntityTooLarge as wrong:
        return Refused(413, f"The request is too large: {wrong.text}")
    except web.RequestPayloadError:
        return Refused(400, "The request is malformed: its body breaks off.")
    except web.HTTPMethodNotAllowed as wrong:
        methods = ", ".join(sorted(wrong.allowed_methods))
        not_so = Refused(405, f"{request.path} takes {methods}, not {request.method}. Served are {served}.")
        not_so.headers["allow"] = methods
        return not_so
    except web.HTTPNotFound:
        words = f"{request.method} {request.path[:200]} is not served here.{_hint(request)} Served are {served}."
        return Refused(404, words, code="unknown_url")


def _hint(request: web.Request) -> str:
    """What may be wrong with a path that is not served."""
    path, vendor = request.path, request.match_info.get("vendor", "openai")
    if path.count("/v1") > 1:
        return " The path holds /v1 twice: give the client its base URL without /v1."
    if "/v1" not in path:
        return " The path lacks /v1: end the client's base URL in /v1."
    if "//" in path:
        return " The path holds // where / is meant: end the client's base URL without /."
    return "" if vendor in VENDORS else f" There is no vendor {shown(vendor)}; there are {', '.join(VENDORS)}."


async def marked(request: web.Request, response: web.StreamResponse) -> None:
    """Say of each response that a stand-in sent it, and which request it answers."""
    response.headers["x-moa-offline"] = "1"
    response.headers.setdefault(dialect_of(request).request_id_header(), _new_id())


def key_of(request: web.Request) -> str:
    """The API key that a request brings; any text will do, but there must be one."""
    key = request.headers.get("x-api-key") or re.sub("(?i)^bearer *", "", request.headers.get("authorization", ""))
    if not key:
        raise Refused(401, "No API key: send one (any text will do offline).")
    return key


def vendor_of(request: web.Request) -> str | None:
    """The vendor in the path, if any; the path of one that does not exist is not served."""
    vendor = request.match_info.get("vendor")
    if vendor is not None and vendor not in VENDORS:
        raise web.HTTPNotFound
    return vendor


def dialect_of(request: web.Request, vendor: str | None = None, *, with_usage: bool = True) -> Dialect:
    """The format of an answer: Anthropic's for a request in it, otherwise that of the model's vendor, if known."""
    vendor = vendor or request.path.strip("/").partition("/")[0]
    to_anthropic = vendor == "anthropic" or "anthropic-version" in request.headers
    if MESSAGES.search(request.path) or (to_anthropic and "/chat/" not in request.path):
        return Dialect("anthropic")
    return Dialect("mistral" if vendor == "mistral" or "/batch/jobs" in request.path else "openai", with_usage)


def _new_id() -> str:
    return f"req_{uuid.uuid4().hex}"
