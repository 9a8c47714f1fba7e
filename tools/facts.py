"""What may have become untrue since the lesson was written: model ids, prices, shutdown dates, and every link.

    python tools/facts.py            prints what is to be looked at, as Markdown; exit status 1 if there is anything

A vendor's list of models is asked where its key is set. A link that answers 401, 403 or 429 is only named: many sites
refuse programs. Prices are compared with those of the package genai-prices, of which ``make facts`` fetches the newest.
"""

from __future__ import annotations

import csv
import http.client
import json
import math
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "moa_helpers" / "catalogue"
TEXTS = (
    "*.md",
    "docs/**/*.md",
    "benchmarks/*.md",
    "notebooks/**/*.ipynb",
    "moa_helpers/**/*.csv",
    "moa_helpers/**/*.md",
)
LINK = re.compile(r"https?://[^\s<>\"'`\\)\]},|;]+")
# No pages: addresses of this machine, those that only show a form, and the vendors' endpoints, which want a key.
NO_PAGE = re.compile(r"//(?:localhost|127\.0\.0\.1)|//$|OWNER|\bexample\b|//api\.|/api/v\d$")
REFUSES_PROGRAMS = (401, 403, 429)
SOON = timedelta(days=60)


def ask(address: str, headers: dict[str, str] | None = None, timeout: float = 20.0) -> tuple[bytes, str]:
    """The page at an address, and the address that it came from in the end. Raises OSError."""
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)", **(headers or {})})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read(), answer.url
    except (http.client.HTTPException, ValueError) as problem:  # no HTTP, half an answer, no address
        raise OSError(repr(problem)) from None


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table of the catalogue."""
    return list(csv.DictReader((CATALOGUE / name).read_text(encoding="utf-8").splitlines()))


def shutdowns(today: date) -> Iterator[tuple[str, bool]]:
    """Models that have ended or end soon, and whether a text of the lesson still names them, which is a fault."""
    whole = "\n".join(texts().values())
    for row in rows("models.csv"):
        end, name = date.fromisoformat(row["shutdown_date"] or "9999-12-31"), f"{row['vendor']}:{row['model_id']}"
        if end - today <= SOON:
            successor = f"; its successor: {row['successor']}" if row["successor"] else ""
            named = bool(re.search(rf"{re.escape(name)}(?![\w-]|\.\d)", whole))
            yield f"{name} {'ended' if end <= today else 'ends'} on {end}{successor}", named


def missing_models(today: date) -> Iterator[str]:
    """Models that should live, and that their vendor's list does not name. A vendor without a key is left out."""
    for vendor in rows("vendors.csv"):
        key = vendor["key_variable"] and os.environ.get(vendor["key_variable"])
        if not key:
            continue
        base = (os.environ.get(vendor["url_variable"]) or vendor["base_url"]).rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"}
        if vendor["api"] == "anthropic":
            headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        try:
            listed = json.loads(ask(f"{base}/v1/models?limit=1000", headers)[0])
            ids = {model["id"] for model in (listed["data"] if isinstance(listed, dict) else listed)}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield f"{vendor['name']} gave no list of its models: {said(problem)}"
            continue
        for row in rows("models.csv"):
            alive = (row["shutdown_date"] or "9999") > today.isoformat()
            if row["vendor"] == vendor["name"] and row["model_id"] not in ids and alive:
                yield f"{row['vendor']}:{row['model_id']} is not in the vendor's list"


def other_prices() -> Iterator[str]:
    """Models whose price in dollars for a million tokens is another in genai-prices; those it lacks are left out."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        yield "The prices were not compared: genai-prices is not installed (`make facts` does that)."
        return
    for row in rows("models.csv"):
        usages = Usage(input_tokens=1000, output_tokens=0), Usage(input_tokens=0, output_tokens=1000)
        try:
            found = [calc_price(use, row["model_id"], provider_id=row["vendor"]).total_price for use in usages]
        except LookupError:
            continue
        theirs, ours = (
            [1000 * float(usd) for usd in found],
            [float(row[f"usd_{way}_per_m"] or 0) for way in ("in", "out")],
        )
        if not all(map(math.isclose, theirs, ours)):
            yield f"{row['vendor']}:{row['model_id']} costs {theirs} by genai-prices, and {ours} in models.csv"


def texts() -> dict[str, str]:
    """What a reader sees, file by file; of a notebook all cells, without their outputs."""
    found = {}
    for path in sorted({path for pattern in TEXTS for path in ROOT.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        found[path.relative_to(ROOT).as_posix()] = text
    return found


def links() -> dict[str, list[str]]:
    """Every address in those texts, with the files that name it."""
    found: dict[str, list[str]] = {}
    for name, text in texts().items():
        for address in {link.rstrip(".:*") for link in LINK.findall(text)}:
            if not NO_PAGE.search(address):
                found.setdefault(address, []).append(name)
    return found


def answers(address: str, timeout: float = 20.0) -> tuple[str, bool]:
    """What is to be said of a link ("" if nothing), and whether it is a fault; one that is silent is asked twice."""
    for last in (False, True):
        try:
            _, at_last = ask(address, timeout=timeout)
        except urllib.error.HTTPError as problem:
            problem.close()
            if problem.code in REFUSES_PROGRAMS:
                return f"refuses programs ({problem.code}): look at it", False
            if problem.code < 500 or last:
                return f"answers {problem.code}", True
        except OSError as problem:
            if last:
                return f"does not answer: {said(problem)}", True
        else:
            moved = at_last.partition("#")[0].rstrip("/") != address.partition("#")[0].rstrip("/")
            return (f"leads on to {at_last}", False) if moved else ("", False)
    raise AssertionError("unreachable")


def said(problem: Exception) -> str:
    """A failure in words, without what was sent."""
    return (
        f"HTTP {problem.code}"
        if isinstance(problem, urllib.error.HTTPError)
        else f"{type(problem).__name__}: {problem}"
    )


def main(today: date, timeout: float = 20.0) -> int:
    """Print what is to be looked at; returns the exit status."""
    found = links()
    with ThreadPoolExecutor(8) as pool:
        said_of = dict(zip(found, pool.map(lambda address: answers(address, timeout), found), strict=True))
    about = {
        address: f"<{address}> {what} ({', '.join(found[address])})" for address, (what, _) in said_of.items() if what
    }
    ending = list(shutdowns(today))
    parts = {
        "Models": [*(line for line, named in ending if named), *missing_models(today), *other_prices()],
        "Links": [line for address, line in about.items() if said_of[address][1]],
        "For your information": [
            *(line for line, named in ending if not named),
            *(line for address, line in about.items() if not said_of[address][1]),
        ],
    }
    for title, lines in parts.items():
        if lines:
            print(f"## {title}\n", *(f"- {line}" for line in lines), "", sep="\n")
    keyless = [
        row["name"] for row in rows("vendors.csv") if row["key_variable"] and not os.environ.get(row["key_variable"])
    ]
    print(
        f"{len(found)} links were asked. Without a key, so not asked for their models: {', '.join(keyless) or 'none'}."
    )
    return 1 if parts["Models"] or parts["Links"] else 0


if __name__ == "__main__":
    sys.exit(main(date.today()))
