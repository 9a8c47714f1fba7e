"""Text out of a file that anyone's editor or spreadsheet may have written, and files of our own."""

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
_MARKS |= {codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_BE: "utf-16"}


def decoded(written: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 as Windows writes them, or else in Windows' Western letters."""
    names = [name for mark, name in _MARKS.items() if written.startswith(mark)][:1]
    if not names and b"\0" in written[:2]:  # UTF-16 without its mark: each second byte of Latin letters is zero
        names = ["utf-16-be" if written[:1] == b"\0" else "utf-16-le"]
    for name in names or ["utf-8", "cp1252"]:
        with suppress(UnicodeDecodeError):
            return written.decode(name)
    raise ValueError("it is no text in UTF-8 or UTF-16: save it as UTF-8")


def save(path: str | Path, written: bytes) -> Path:
    """Write a file whole or not at all, in place of one that is there; returns its path. Raises OSError."""
    with instead_of(path) as part:
        part.write_bytes(written)
    return Path(path).expanduser()


@contextmanager
def instead_of(path: str | Path) -> Iterator[Path]:
    """The name of a file to write, which replaces this one if all goes well, and is removed otherwise."""
    place = Path(path).expanduser()
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder: name a file in it.")
    if not place.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {place.parent} to write {place.name} in: make it first.")
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
