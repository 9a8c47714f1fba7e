"""What a model thinks aloud, told from its answer: by the vendor, in parts, or by tags within the text.

The tags are ``<think>`` and its like. These rules say which of them count; all others stay in the answer:

- An opening tag counts only at the head of the text, or right after another thought. It needs no closing one: then the
  text ended within the thought.
- A closing tag without an opening one before it counts, too: some servers swallow the opening one. All before it was
  thought.
- A tag in code, in quotes, or as a word of a sentence never counts: ``the tag </think> ends it``.
"""

import re
from itertools import accumulate, islice, takewhile
from typing import Any, NamedTuple

from moa_helpers.vendors.requests import Malformed

TAG = re.compile(
    r"<(?i:/?(?:seed:)?(?P<name>think|thinking|thoughts?|reasoning)(?:\s[^<>/]{0,80})?/?>"
    r"|\|(?:start|end)_thinking\|>"  # Cohere
    r"|\|channel>thought\b|channel\|>"  # Gemma
    r"|(?:\|end\|><)?(?:\|start\|>assistant<)?\|channel\|>(?:analysis|final)<\|message\|>)"  # gpt-oss
    r"|analysis(?<=\Aanalysis)(?=[A-Z])|assistantfinal"  # gpt-oss, where a server leaves its marks out
    r"|\[/?(?i:think)\]"  # Mistral
    r"|\u25c1/?think\u25b7"  # Kimi
)
_CLOSES = re.compile(r"/|<\|end_|<channel|final")  # what is in a closing tag alone
LONGEST = 120  # characters of a tag
MOST_TAGS = 200  # that are looked at, of an odd text: the rest is taken as it stands
MOST_LOOKS = 200  # at a text that grows, and from then on with each tenth that it grows; its end counts in any case
_INNER = ("thinking", "reasoning", "text", "value", "content", "summary")  # where a part has what it holds
_FENCE = re.compile(r"^ {0,3}(?:`{3,}|~{3,})([^`\n]*)$", re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_QUOTED = re.compile(r"(?:^|[\s(\[{])(?:[\"'`\u201c\u201e\u2018\u00ab(\[]|\*\*?)$")
_CLOSING_QUOTES = tuple("\"'`*\u201d\u201c\u2019\u00bb)]")
_IN_SENTENCE = re.compile(r"[^\s.!?\u2026\u3002\uff01\uff1f][ \t]+$|[(\[]$")
_ABOUT = re.compile(r"[ \t]+(?:is|are|was|and|or|tags?|marks?|means|opens?|starts?|begins?|ends?|closes?|elements?)\b")
_BEGUN = re.compile(r"\s*(?:[<\[\u25c1][^>\]\u25b7]{0,60}|<\|[a-z<|>]{0,60}|analysis)?$", re.IGNORECASE)


class Tag(NamedTuple):
    """A tag that is not in code or quotes: where it is, and which."""

    begin: int
    end: int
    name: str
    closing: bool
    is_word: bool  # of a sentence


def told_apart(content: Any, depth: int = 8) -> tuple[str, str]:
    """The text and the thinking in a content: a text, a part, or a list of parts, maybe nested; or ``Malformed``."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, list) and depth:
        both = [told_apart(part, depth - 1) for part in content]
        return "".join(text for text, _ in both), "".join(thinking for _, thinking in both)
    if isinstance(content, dict) and depth:
        kind = str(content.get("type") or "text")
        thought = kind.startswith(("thinking", "reasoning")) or content.get("thought") is True
        if not (thought or kind.endswith("text")):
            return "", ""
        inner = next((content[name] for name in _INNER if content.get(name) is not None), None)
        text, thinking = told_apart(inner, depth - 1)
        return ("", text + thinking) if thought else (text, thinking)
    raise Malformed(f"The answer's text is no text, but {str(content)[:100]!r}.")


def whole(text: str) -> str:
    """A text in which a character that was split between two pieces is whole again; half a one is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split(text: str) -> tuple[str, str]:
    """The thinking and the answer in a text, without the tags."""
    thoughts, begin = _thoughts(text, _tags(text))
    return "\n\n".join(filter(None, thoughts)), text[begin:]


class Splitter:
    """A text that arrives in pieces: it passes on what is the answer as far as can be told.

    It passes on None where all before is void: it was thinking after all. What it has passed on since is, at the end,
    the answer of ``split``, whatever the pieces were.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._recent = ""  # the last characters, in which a tag may have begun
        self._begin = 0  # where the answer begins
        self._sent = 0  # characters of it that were passed on
        self._inside = False  # whether a thought has not ended
        self._looks = 0
        self._due = 0.0  # the length at which it is looked at again

    @property
    def text(self) -> str:
        """All of it, tags and thinking included."""
        return whole("".join(self._pieces))

    def add(self, piece: str, *, last: bool = False) -> list[str | None]:
        """Add a piece, and say what can be passed on. After the last one nothing is held back."""
        self._pieces.append(piece)
        self._length += len(piece)
        window = self._recent + piece
        self._recent = window[-LONGEST:]
        has_tag = bool(TAG.search(window))
        undecided = has_tag or (not self._inside and (not self._sent or "`" in piece or "~" in piece))
        if last or (undecided and self._length >= self._due):
            return self._look(last)
        nothing_held = self._begin + self._sent + len(piece) == self._length
        return self._pass_on(piece) if self._sent and nothing_held else []

    def _look(self, last: bool) -> list[str | None]:
        self._looks += 1
        self._due = self._length * 1.1 if self._looks > MOST_LOOKS else 0
        text = "".join(self._pieces)
        tags = _tags(text)
        if tags and not last and not text[tags[-1].end :].strip():
            return []  # what follows tells whether that tag counts
        thoughts, begin = _thoughts(text, tags)
        self._inside = bool(thoughts) and begin == len(text) and bool(text[tags[-1].end :].strip())
        void: list[str | None] = [None] if self._sent and begin != self._begin else []
        self._begin, self._sent = begin, 0 if void else self._sent
        unsent = text[begin + self._sent :]
        held = not last and not self._sent and _BEGUN.match(unsent)
        return void if held else void + self._pass_on(unsent)

    def _pass_on(self, unsent: str) -> list[str | None]:
        self._sent += len(unsent)
        return [unsent] if unsent else []


def _tags(text: str, *, in_code: bool = False) -> list[Tag]:
    """The tags outside of quotes and, unless told otherwise, of code."""
    if not TAG.search(text):
        return []
    found = []
    for match in islice(TAG.finditer(text if in_code else _without_code(text)), MOST_TAGS):
        begin, end = match.span()
        before, after = text[max(0, begin - LONGEST) : begin], text[end : end + LONGEST]
        if not (after.startswith(_CLOSING_QUOTES) and _QUOTED.search(before)):
            closing = bool(_CLOSES.search(match[0].lower()))
            found.append(Tag(begin, end, (match["name"] or "").lower(), closing, _is_word(before, after, begin)))
    return found


def _without_code(text: str) -> str:
    """The text with spaces for its code. A fence that is not closed before the next one opens is none."""
    pieces, begin, opened = [], 0, None
    for fence in _FENCE.finditer(text):
        if opened is None or fence[1].strip():
            opened = fence.start()
        else:
            pieces += [text[begin:opened], " " * (fence.end() - opened)]
            begin, opened = fence.end(), None
    return _INLINE_CODE.sub(lambda code: " " * len(code[0]), "".join([*pieces, text[begin:]]))


def _is_word(before: str, after: str, begin: int) -> bool:
    """Whether a tag is a word of a sentence: it neither ends a line or a sentence, nor clings to a word."""
    if not before.strip() and begin <= LONGEST:
        return bool(_ABOUT.match(after))
    follows = after.lstrip(" \t")
    goes_on = after[:1].isspace() and follows[:1].isalpha() and not follows[:1].isupper()
    return bool(_IN_SENTENCE.search(before)) and (not after.strip() or goes_on or follows[:1] in ",.;:!?)]}|=")


def _thoughts(text: str, tags: list[Tag]) -> tuple[list[str], int]:
    """The thoughts, and where the answer begins; with a thought that has not ended, that is the end of the text."""
    thoughts: list[str] = []
    begin = 0
    unopened = [tag for tag in takewhile(lambda tag: tag.closing, tags) if not tag.is_word]
    if unopened:
        thoughts, begin = [text[: unopened[0].begin].strip()], unopened[0].end
    elif tags and tags[0].is_word and all(tag.is_word for tag in tags if tag.closing):
        return [], 0
    for tag in tags:
        if tag.begin < begin:
            continue  # it was closed already
        if text[begin : tag.begin].strip() or (tag.closing and not thoughts):
            break
        if tag.closing:
            begin = tag.end  # twice closed
        else:
            closing = _closing(tag, tags) or _closing(tag, _tags(text, in_code=True))  # lest an answer be lost
            thoughts.append(text[tag.end : closing.begin if closing else len(text)].strip())
            begin = closing.end if closing else len(text)
    return thoughts, len(text) - len(text[begin:].lstrip()) if thoughts else 0


def _closing(opening: Tag, tags: list[Tag]) -> Tag | None:
    """The tag that closes a thought: the one that fits, or the first of its name, or any."""
    tags = [tag for tag in tags if tag.begin >= opening.begin]
    named = [tag for tag in tags if tag.name == opening.name]
    depths = accumulate(-1 if tag.closing else 1 for tag in named)
    fitting = [tag for tag, depth in zip(named, depths, strict=True) if not depth]
    return next((tag for tag in (*fitting, *named, *tags) if tag.closing), None)
