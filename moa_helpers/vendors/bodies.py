"""The words in an error's body, whichever of the many shapes a server gives it, and however an SDK wraps it."""

import ast
import html
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# Where the words stand: the first of these that holds any. A text in "error" may be a mere code, so it comes late.
KEYS = ("message", "msg", "errordescription", "errormessage", "detail", "error", "errors")
CODE_KEYS = ("code", "type", "status", "statuscode", "httpstatus", "errorcode", "errortype", "error")
DEEPEST = 8  # levels; no server nests its words deeper
_PAGE = re.compile(r"(?i)</[a-z]|<[!?]|<html\b")
_TITLE = re.compile(r"(?i)<(?:title|message|h1)\b[^<>]{0,200}>([^<>]{1,500})<")
_MARKUP = re.compile(r"(?is)<(script|style)\b.{0,5000}?</\1>|<[^<>]{0,500}>")


def words(body: Any, depth: int = 0) -> str:
    """The sentence that a body holds: a text, JSON of any envelope, a list, or a page; "" if there is none."""
    body = _parsed(body)
    if isinstance(body, str):
        return _without_markup(body) if _PAGE.search(body) else body
    if depth == DEEPEST:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (words(each, depth + 1) for each in body[:3])))
    if not isinstance(body, dict):
        return ""
    said = next(filter(None, (words(body[key], depth + 1) for key in KEYS if key in body)), "")
    if not said:  # under a name of the server's own: what reads like a sentence
        others = [value for key, value in body.items() if key not in KEYS][:20]
        said = next((text for value in others if " " in (text := words(value, depth + 1))), "")
    if said and isinstance(body.get("loc"), list | tuple):  # FastAPI: which field is wrong
        said = f"{'.'.join(map(str, body['loc'][:DEEPEST]))}: {said}"
    if said and isinstance(behind := body.get("metadata"), dict):  # OpenRouter: the host behind it, and what that said
        host, raw = (words(_parsed(behind).get(key), depth + 1) for key in ("providername", "raw"))
        said += (f" ({host})" if host else "") + (f": {raw}" if raw else "")
    return said


def codes(body: Any) -> Iterator[str]:
    """The codes and types that a body holds, as texts."""
    waiting = [body]
    for _ in range(50):
        if not waiting:
            return
        node = _parsed(waiting.pop(0))
        if isinstance(node, list):
            waiting += node[:3]
        elif isinstance(node, dict):
            yield from (str(node[key])[:200] for key in CODE_KEYS if isinstance(node.get(key), str | int | float))
            waiting += [node[key] for key in KEYS if isinstance(node.get(key), dict | list)]


def _parsed(body: Any) -> Any:
    """What a body says if it is JSON, an event that holds some, or a dict as Python prints it. Otherwise the text.

    The names in a dict come in lower case and without underlines.
    """
    if isinstance(body, bytes | bytearray):
        body = bytes(body).decode("utf-8", "replace")
    if isinstance(body, str):
        body = body.strip("\ufeff \t\r\n")
        if body.startswith(("data:", "event:")):
            body = (body.partition("data:")[2].splitlines() or [""])[0].strip()
        if body[:1] in ("{", "[", '"'):
            body = _read(body)
    if isinstance(body, dict):
        return {str(key).lower().replace("_", ""): value for key, value in body.items()}
    return body


def _read(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(text) if len(text) < 10_000 else text
    return text


def _without_markup(text: str) -> str:
    """What comes before a page or a tag, and the page's title or first words."""
    before = text[: text.find("<")][:500]
    titles = [title for title in _TITLE.findall(text[:50_000]) if len(title.split()) > 1]
    return html.unescape(before + titles[0] if titles else _MARKUP.sub(" ", text[:10_000])).strip()
