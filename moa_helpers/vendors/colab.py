"""Google Colab: the secrets of its panel, and its free models, through its module ``google.colab.ai``."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import rows
from moa_helpers.vendors.requests import Chunk, Request

HINTS = {row["case"]: row["hint"] for row in rows(Path(__file__).with_name("hints.csv"))}  # what the reader can do
TOKEN = "MODEL_PROXY_API_KEY"  # google.colab.ai keeps its own key in this variable


def ai() -> Any:
    """The module ``google.colab.ai``; None outside Colab."""
    try:
        from google.colab import ai
    except ImportError:
        return None
    return ai


def as_text(request: Request) -> str:
    """All messages in one text. Turns before the last are in it as JSON, so that none can pass for a title."""
    said = request.before and json.dumps(request.turns[:-1], ensure_ascii=False)
    titled = {"Instructions": request.system, "The conversation before": said, "The message to answer": request.asked}
    whole = "\n\n".join(f"# {title}\n\n{text}" for title, text in titled.items() if text)
    return whole if request.system or said else request.asked


async def stream(request: Request) -> AsyncGenerator[Chunk, None]:
    """Send a prompt and yield the answer as it arrives. The module's function blocks, so a thread reads from it.

    The function takes nothing but a prompt, reports no tokens, and does not say whether the answer was cut off. A
    stopped call ends at once here, and in its thread when the next piece comes.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | Exception | None] = asyncio.Queue()  # None at the end
    stopped = threading.Event()
    prompt = as_text(request)

    def hand_over(what: str | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(arrived.put_nowait, what)

    def read() -> None:
        try:
            with closing(request.sdk.generate_text(prompt, model_name=request.model.id, stream=True)) as pieces:
                for piece in pieces:
                    if stopped.is_set():
                        return
                    hand_over(piece or "")
            hand_over(None)
        except Exception as error:  # handed over, and raised there
            hand_over(error)

    threading.Thread(target=read, name="google.colab.ai", daemon=True).start()
    try:
        while (what := await arrived.get()) is not None:
            if isinstance(what, Exception):
                raise what
            yield Chunk(text=what)
        yield Chunk(finish_reason="stop")
    finally:
        stopped.set()


class Session:
    """What Google Colab gives a session: the secrets of its panel, and models that are free to use.

    Each is asked for once, as that may open a dialog or take seconds; but a missing secret is looked up again.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._denied: list[str] = []
        self._silent = False
        self._listing: threading.Thread | None = None
        self._models: tuple[str, ...] = ()
        self._problem = ""

    def secret(self, name: str) -> str | None:
        """A secret of the panel; None outside Colab, or where it is missing, not granted, or the panel is silent."""
        if self._silent or name in self._denied or name in self._secrets:
            return self._secrets.get(name)
        try:
            from google.colab import errors, userdata
        except ImportError:
            return None
        try:
            if found := str(userdata.get(name) or "").strip():
                self._secrets[name] = found
        except userdata.SecretNotFoundError:
            return None
        except userdata.NotebookAccessError:
            self._denied.append(name)
        except errors.Error:  # TimeoutException, after ten seconds; the next name would wait as long
            self._silent = True
        return self._secrets.get(name)

    @property
    def keyless(self) -> bool:
        """Whether ``google.colab.ai`` would have to ask a silent panel for its key."""
        return self._silent and TOKEN not in os.environ

    def models(self, patience: float = 5.0) -> tuple[str, ...]:
        """Names of the models of ``google.colab.ai``; none outside Colab, or if their list takes longer (seconds)."""
        try:
            import google.colab  # noqa: F401
        except ImportError:
            return ()
        if self.keyless:
            return ()
        if self._listing is None:
            self._listing = threading.Thread(target=self._list_models, daemon=True)
            self._listing.start()
        self._listing.join(patience)
        return self._models

    def notes(self) -> list[str]:
        """What went wrong, and what to do about it."""
        notes = []
        if self._denied:
            notes.append(HINTS["denied"].format(", ".join(self._denied)))
        if self._silent:
            notes.append(HINTS["silent"])
        if self._problem:
            notes.append(HINTS["no list"].format(self._problem))
        elif self._listing is not None and self._listing.is_alive():
            notes.append(HINTS["no list yet"])
        return notes

    def _list_models(self) -> None:
        try:
            from google.colab import ai

            self._models = tuple(f"colab:{name}" for name in ai.list_models())
        except Exception as error:  # of its HTTP library, its proxy or the panel; the report tells the reader
            self._problem = f"{type(error).__name__}: {error}"


session = Session()
