"""Which store is in use: that of the innermost ``keep`` around, or that of ``setup``."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from moa_helpers.vendors import settings

if TYPE_CHECKING:
    from moa_helpers.store.answers import Answers

_around: ContextVar["Answers | None"] = ContextVar("store", default=None)
_of_setup: "Answers | None" = None


@contextmanager
def keep(path: str | Path, *, recorded_speed: bool = False) -> Iterator["Answers"]:
    """Keep in a file what is answered inside a ``with`` block; what is in it already is not asked, or paid for, again.

    This holds for the calls of the block's own tasks, and of ``moa.run``. For a whole program, as for a web framework
    that answers each request in a task from elsewhere, give the file to ``setup(keep=…)``.

    A request is the same if its model, messages, settings and number of the sample are. Answers of offline stand-ins
    never answer a live request, or the other way round. Of a failed call only the cost is kept. At the end of the block
    all is in this one file, which can be copied and shared; it holds no key.

    Args:
        path: the file, made if it is not there. Several programs may use it at the same time.
        recorded_speed: whether answers from the file arrive as slowly as they once did, or at once.

    Yields:
        The store; ``spent_since`` says what its calls have cost.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read. If it cannot be written, the first call that is not in it raises this unmade.
    """
    from moa_helpers.store.answers import Answers

    with closing(Answers(path, recorded_speed=recorded_speed)) as store:
        token = _around.set(store)
        try:
            yield store
        finally:
            with suppress(ValueError):  # a coroutine that nobody awaits any more is closed in another context
                _around.reset(token)


def current() -> "Answers | None":
    """The store to use here; None if answers are not kept. Errors are those of ``keep``."""
    global _of_setup
    if around := _around.get():
        return around
    path, store = settings.current().keep, _of_setup
    if store and (store.path != path or store.moved):
        store.close()
        store = None
    if path and not store:
        from moa_helpers.store.answers import Answers

        store = Answers(path)
    _of_setup = store
    return store
