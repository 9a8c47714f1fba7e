"""What a model thinks aloud, told from its answer: by the vendor, in parts, or by tags within the text.

The tags are ``<think>`` and its like. These rules say which of them count; all others stay in the answer:

- An opening tag counts only at the head of the text, or right after another thought. It needs no closing one: then the
  text ended within the thought. ``<think> is a tag`` is a sentence about the tag.
- A closing tag without an opening one counts, too: some servers swallow the opening one. All before it was thought. But
  it does not count after an opening tag in the midst of the text, or within a sentence: ``the tag </think> ends it``.
- A tag in code or in quotes never counts.
"""

import re
from bisect import bisect_left
from itertools import islice
from typing import Any, NamedTuple

from moa_helpers.vendors.requests import Malformed

NAMES = ("think", "thinking", "thought", "thoughts", "reasoning")
LONGEST = 120  # characters of a tag
SOON = 30  # characters after a tag within which it shows whether that is one of a sentence
MOST_TAGS, MOST_TOKENS, DEEPEST = 1000, 100_000, 50  # what is looked at, of an odd text: the rest is taken as it stands
MOST_LOOKS = 200  # at a text that grows, and from then on with each tenth that it grows; its end counts in any case
_TAG = (
    rf"<\s?(?P<slash>/?)\s?(?:seed:)?(?P<name>{'|'.join(NAMES)})(?:\s[^<>]{{0,80}}?)?(?P<alone>/?)\s?>"
    r"|\[(?P<slash2>/?)think\]|\u25c1(?P<slash3>/?)think\u25b7"
)
TAG = re.compile(_TAG, re.IGNORECASE)
_TOKEN = re.compile(rf"^ {{0,3}}(?P<fence>```|~~~)(?P<info>[^`\n]*)$|(?P<line>\n)|(?P<ticks>`+)|{_TAG}", re.I | re.M)
_BEGUN = re.compile(r"[<\[\u25c1]\s?/?\s?(?:seed:)?(?P<name>[a-z:]*)(?P<more>\s[^<>\[\]]{0,80})?/?$", re.IGNORECASE)
_UNDECIDED = re.compile(rf"(?:{_TAG})[ \t]*$", re.IGNORECASE)
_ABOUT = re.compile(r"[ \t]+(is|are|was|and|or|tags?|marks?|means|opens?|starts?|begins?|elements?|blocks?)\b")
_QUOTED = re.compile(r"(?:^|[\s(\[{])(?P<open>[\"'\u201c\u201e\u2018\u00ab(\[])$")
_SENTENCE_ENDS = ".!?\u2026\u3002\uff01\uff1f"
_CLOSING_QUOTES = "\"'\u201d\u201c\u2019\u00bb)]"


class Tag(NamedTuple):
    """A tag that is not in code or quotes: where it stands, and what it is."""

    begin: int
    end: int
    name: str
    closing: bool
    alone: bool


def told_apart(content: Any, depth: int = 8) -> tuple[str, str]:
    """The text and the thinking in a content: a text, a part, or a list of parts, maybe nested.

    Raises:
        Malformed: it is none of these.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, list) and depth:
        both = [told_apart(part, depth - 1) for part in content]
        return "".join(text for text, _ in both), "".join(thinking for _, thinking in both)
    if isinstance(content, dict) and depth:
        kind = str(content.get("type") or "text")
        thought = kind.startswith(("thinking", "reasoning")) or content.get("thought") is True
        names = ("thinking", "reasoning", "text", "content", "summary") if thought else ("text", "value", "content")
        inner = next((content[name] for name in names if content.get(name) is not None), None)
        if thought:
            return "", "".join(told_apart(inner, depth - 1))
        return told_apart(inner, depth - 1) if "text" in kind else ("", "")
    raise Malformed(f"The answer's text is no text, but {str(content)[:100]!r}.")


def whole(text: str) -> str:
    """A text in which a character that was split between two pieces is whole again; half a one is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split(text: str) -> tuple[str, str]:
    """The thinking and the answer in a text, without the tags."""
    thoughts, begin = _border(text, _tags(text))
    return "\n\n".join(thought for thought in thoughts if thought), text[begin:]


class Splitter:
    """A text that arrives in pieces: it passes on the answer as soon as no tag can change it.

    It passes on None where all before is void: it was thinking after all. What it has passed on since is, at the end,
    the answer of ``split``, whatever the pieces were.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._recent = ""  # the last characters, in which a tag may have begun
        self._held = ""  # of the answer, what may yet be a part of a tag
        self._begin = 0  # where the answer begins
        self._sent = 0  # characters of it that were passed on
        self._inside = False  # whether a thought has not ended
        self._since_tag: int | None = None  # characters since the last tag
        self._looks = 0
        self._due = 0.0  # the length at which it is looked at again

    @property
    def text(self) -> str:
        """All of it, tags and thinking included."""
        return whole("".join(self._pieces))

    def add(self, piece: str, *, last: bool = False) -> list[str | None]:
        """Add a piece, and say what can be passed on. After the last one nothing is held back."""
        self._pieces.append(piece)
        window = self._recent + piece
        self._recent = window[-LONGEST:]
        if self._since_tag is not None:
            self._since_tag += len(piece)
        self._length += len(piece)
        if last or (self._length >= self._due and self._may_have_changed(window, piece)):
            return self._look(last)
        return [] if self._inside or not self._sent else self._pass_on(self._held + piece)

    def _may_have_changed(self, window: str, piece: str) -> bool:
        if TAG.search(window) or not (self._inside or self._sent):
            return True
        return self._since_tag is not None and (self._since_tag < SOON + len(piece) or "`" in piece)

    def _look(self, last: bool) -> list[str | None]:
        self._looks += 1
        self._due = self._length * 1.1 if self._looks > MOST_LOOKS else 0
        text = "".join(self._pieces)
        tags = _tags(text)
        thoughts, begin = _border(text, tags)
        self._inside = bool(thoughts) and begin == len(text) and bool(text[tags[-1].end :].strip())
        self._since_tag = len(text) - tags[-1].end if tags else None
        void: list[str | None] = [None] if self._sent and begin != self._begin else []
        self._begin, self._sent = begin, 0 if void else self._sent
        return void + self._pass_on(text[begin + self._sent :], last)

    def _pass_on(self, unsent: str, last: bool = False) -> list[str | None]:
        ready = len(unsent) if last else _certain(unsent, at_head=not self._sent)
        self._held = unsent[ready:]
        self._sent += ready
        return [unsent[:ready]] if ready else []


def _certain(text: str, *, at_head: bool) -> int:
    """How many characters of what is to be passed on cannot be a part of a tag, or the space before one."""
    end = text[-LONGEST:]
    before = len(text) - len(end)
    begun = _BEGUN.search(end)
    if begun:
        name = begun["name"].lower()
        begun = begun if name in NAMES or (not begun["more"] and any(one.startswith(name) for one in NAMES)) else None
    held = _UNDECIDED.search(end) or begun
    ready = before + held.start() if held else len(text)
    return 0 if at_head and not text[:ready].strip() else ready


def _tags(text: str) -> list[Tag]:
    """The tags outside of code and quotes, in one pass."""
    if not TAG.search(text):
        return []
    found: list[Tag] = []
    line: list[Tag] = []  # those of this line, and how many there were when code began
    code: int | None = None
    fences: list[tuple[int, bool]] = []  # where each one begins, and whether it can end code
    for token in islice(_TOKEN.finditer(text), MOST_TOKENS):
        if token["fence"]:
            fences.append((token.start(), not token["info"].strip()))
        elif token["line"]:
            found += line
            line, code = [], None
        elif token["ticks"]:
            if code is not None:
                del line[code:]
            code = len(line) if code is None else None
        elif not _is_quoted(text, token.start(), token.end()):
            closing = bool(token["slash"] or token["slash2"] or token["slash3"])
            name = (token["name"] or "think").lower()
            line.append(Tag(token.start(), token.end(), name, closing, bool(token["alone"])))
        if len(found) + len(line) >= MOST_TAGS:
            break
    return _outside(fences, found + line)


def _outside(fences: list[tuple[int, bool]], tags: list[Tag]) -> list[Tag]:
    """The tags that stand in no fenced code. A fence that is not closed before the next one opens is none."""
    begins, i = [tag.begin for tag in tags], 0
    inside: set[int] = set()
    while i + 1 < len(fences):
        if fences[i + 1][1]:
            inside.update(range(bisect_left(begins, fences[i][0]), bisect_left(begins, fences[i + 1][0])))
            i += 1
        i += 1
    return [tag for place, tag in enumerate(tags) if place not in inside]


def _is_quoted(text: str, begin: int, end: int) -> bool:
    follows = text[end : end + 1]
    return bool(follows) and follows in _CLOSING_QUOTES and bool(_QUOTED.search(text[max(0, begin - 2) : begin]))


def _border(text: str, tags: list[Tag]) -> tuple[list[str], int]:
    """The thoughts, and where the answer begins; with a thought that has not ended, that is the end of the text."""
    thoughts, begin = _blocks(text, tags, 0, 0)
    if not thoughts and (closing := _without_opening(text, tags)) is not None:
        tag = tags[closing]
        thoughts, begin = _blocks(text, tags, tag.end, closing + 1)
        thoughts.insert(0, text[: tag.begin].strip())
    return thoughts, begin


def _blocks(text: str, tags: list[Tag], begin: int, place: int) -> tuple[list[str], int]:
    """The thoughts that stand at the head of the text from ``begin`` on, one after the other."""
    thoughts: list[str] = []
    after_thought = begin > 0
    while place < len(tags) and not text[begin : tags[place].begin].strip():
        tag = tags[place]
        if tag.closing:
            if not after_thought:
                break
            begin = tag.end  # twice closed
        elif tag.alone:
            thoughts.append("")
            begin = tag.end
        elif not after_thought and _ABOUT.match(text, tag.end):
            break
        else:
            place = _closing(tags, place)
            end = tags[place].begin if place < len(tags) else len(text)
            thoughts.append(text[tag.end : end].strip())
            begin = tags[place].end if place < len(tags) else len(text)
        place, after_thought = place + 1, True
    if after_thought:
        begin = len(text) - len(text[begin:].lstrip())
    return thoughts, begin


def _closing(tags: list[Tag], opening: int) -> int:
    """The place of the tag that closes an opening one: the one that fits, else the first of its name, else any."""
    name, depth = tags[opening].name, 0
    named, any_one = [], []
    for place in range(opening, min(len(tags), opening + DEEPEST)):
        tag = tags[place]
        if tag.closing:
            any_one.append(place)
        if tag.name != name or tag.alone:
            continue
        depth += -1 if tag.closing else 1
        if tag.closing:
            named.append(place)
        if not depth:
            return place
    return (named or any_one or [len(tags)])[0]


def _without_opening(text: str, tags: list[Tag]) -> int | None:
    """The place of the first closing tag that ends a thought whose opening tag is missing."""
    opened = 0
    for place, tag in enumerate(tags):
        if not tag.closing:
            opened += not tag.alone
        elif opened:
            opened -= 1
        elif not _in_sentence(text, tag):
            return place
    return None


def _in_sentence(text: str, tag: Tag) -> bool:
    """Whether a closing tag is a word of a sentence: it neither ends a line or a sentence, nor clings to a word."""
    before = text[max(0, tag.begin - LONGEST) : tag.begin].rpartition("\n")[2]
    if not before.strip() or not (before[-1].isspace() or before[-1] in "([") or before.rstrip()[-1] in _SENTENCE_ENDS:
        return False
    after = text[tag.end : tag.end + LONGEST]
    follows = after.lstrip(" \t")
    if not follows or follows[0] in "\r\n":
        return not follows  # at the very end it is no border: nothing would be left
    spaced = follows != after
    return (spaced and follows[0].isalpha() and not follows[0].isupper()) or follows[0] in ",.;:!?)]}|="
