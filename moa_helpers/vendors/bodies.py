"""The words in an error's body, whichever of the many shapes a server gives it, and however an SDK wraps it."""

import ast
import html
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# Where the words stand: the first of these that holds any. A text in "error" may be a mere code, so it comes late.
KEYS = ("message", "msg", "error_description", "error_message", "errormessage", "detail", "error", "errors")
LAST_KEYS = ("err", "reason", "description", "title", "faultstring", "fault")
CODE_KEYS = ("code", "type", "status", "statuscode", "error_code", "error_type", "error")
_PAGE = re.compile(r"(?i)<(?:!doctype|\?xml|html|head|body|title|style|h1|center)\b|<!--")
DEEPEST = 8  # levels; no server nests its words deeper


def words(body: Any, depth: int = 0) -> str:
    """The sentence that a body holds: a text, JSON of any envelope, a list, or a page; "" if there is none."""
    body = _parsed(body)
    if isinstance(body, str):
        return _page(body) if _PAGE.match(body) else body
    if depth == DEEPEST:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (words(each, depth + 1) for each in body[:3])))
    if not isinstance(body, dict):
        return ""
    body = _lower(body)
    said = next(filter(None, (words(body[key], depth + 1) for key in KEYS + LAST_KEYS if key in body)), "")
    if said and isinstance(body.get("loc"), list | tuple):  # FastAPI: which field is wrong
        said = f"{'.'.join(map(str, body['loc'][:DEEPEST]))}: {said}"
    if said and isinstance(body.get("metadata"), dict):  # OpenRouter: what the host behind it said
        said = f"{said}: {further}" if (further := words(body["metadata"].get("raw"), depth + 1)) else said
    return said


def codes(body: Any) -> Iterator[str]:
    """The codes and types that a body holds, as texts."""
    waiting = [_parsed(body)]
    for _ in range(50):
        if not waiting:
            return
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting += node[:3]
        elif isinstance(node, dict):
            node = _lower(node)
            yield from (str(node[key])[:200] for key in CODE_KEYS if isinstance(node.get(key), str | int | float))
            waiting += [node[key] for key in KEYS if isinstance(node.get(key), dict | list)]


def compact(body: Any) -> str:
    """A body in which no words were found, as it came; "" for none."""
    with suppress(ValueError, TypeError, RecursionError):
        return body if isinstance(body, str) else json.dumps(body) if body else ""
    return ""


def _parsed(body: Any) -> Any:
    """What a text says if it is JSON, or as Python prints a dict; else the text."""
    if isinstance(body, bytes | bytearray):
        body = bytes(body).decode("utf-8", "replace")
    if not isinstance(body, str):
        return body
    text = body.strip()
    if text[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(text) if len(text) < 10_000 else text
    return text


def _lower(body: dict[Any, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in body.items()}


def _page(page: str) -> str:
    """A page's title, or its first words."""
    page = page[:50_000]
    titled = re.search(r"(?i)<(?:title|message|h1)(?:\s[^<>]{0,200})?>([^<>]{0,500}\w[^<>]{0,500})<", page)
    text = titled[1] if titled else re.sub(r"(?is)<(script|style)\b.{0,5000}?</\1>|<[^<>]{0,500}>", " ", page[:10_000])
    return html.unescape(text).strip()
