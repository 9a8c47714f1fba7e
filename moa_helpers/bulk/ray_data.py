"""Answers for a data set of Ray Data: a function for its ``map_batches``."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.ray import joined, limiter
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.sharing import SharedRates
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.limits.members import Named
from moa_helpers.limits.rates import Rate, Rates
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.values import Limits
from moa_helpers.running import run
from moa_helpers.store.keeping import keep
from moa_helpers.vendors.handing import Handed

COLUMNS = {"text": object, "outcome": object, "cost_usd": float, "calls": int, "seconds": float}  # and their dtypes


class Answering:
    """Answers the questions in a column of each batch: ``dataset.map_batches(Answering("openai:gpt-6-luna"))``.

    Called with a batch (a mapping of arrays, or a pandas DataFrame), it returns the batch with the columns text,
    outcome, cost_usd, calls and seconds of ``Row``. Ray Data decides how many processes call it; they share the rates.
    If a node dies, Ray Data gives its batches to another node, which pays for all calls that its own file lacks.

    Args:
        mixture_or_model: as in ``answer_all``.
        column: the name of the column with the questions.
        path: a file on each node that keeps the calls, as in ``moa.keep``; None: nothing is kept.
        max_concurrency: most calls at the same time in each process.
        rates: as in ``answer_all``, for all processes together.
        max_tokens, timeout, retries: as in ``answer_all``.

    Raises:
        TypeError, ValueError: the input is wrong; no call was made.
        ImportError, RuntimeError: Ray is not installed, or no cluster can be used.
    """

    def __init__(
        self,
        mixture_or_model: Named | Mapping[str, Any],
        column: str = "question",
        *,
        path: str | Path | None = None,
        max_concurrency: int | Mapping[str, int] = 8,
        rates: Mapping[str, Rate] | None = None,
        max_tokens: int = 2048,
        timeout: float = 60.0,
        retries: int = 2,
    ) -> None:
        options: dict[str, Any] = {"max_tokens": max_tokens, "timeout": timeout, "retries": retries}
        self._strategy = Strategy.of(mixture_or_model, **options)
        self._column, self._path, self._limits = column, path, Limits(max_concurrency=max_concurrency)
        self._rates = Rates(rates).given
        ray, machine = run(joined(self._strategy))
        self._handed, self._limiter = Handed(machine), limiter(ray, self._rates, self._strategy.given["timeout"])

    def __call__(self, batch: Any) -> Any:
        """The batch with its answers."""
        import numpy as np
        import ray

        if self._column not in batch:
            raise KeyError(f"The batch has no column {self._column!r}; it has {', '.join(map(str, batch))}.")
        self._handed.take(ray.util.get_node_ip_address())
        answers = asyncio.run_coroutine_threadsafe(self._answer([*map(str, batch[self._column])]), _loop())
        try:
            rows = answers.result()
        finally:
            answers.cancel()
        found: dict[str, Any] = {}
        for name, dtype in COLUMNS.items():
            found[name] = np.array([getattr(row, name) for row in rows], dtype)
        return {**batch, **found} if isinstance(batch, Mapping) else batch.assign(**found)

    async def _answer(self, prompts: Sequence[str]) -> Sequence[Row]:
        with ExitStack() as stack:
            if self._path is not None:
                stack.enter_context(keep(self._path))
            rates = SharedRates(self._limiter, self._rates)
            stack.enter_context(Scope(self._limits, rates=rates, remembers=False).open())
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._strategy.answer(Question(prompt, prompt))) for prompt in prompts]
        return [task.result() for task in tasks]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop for the batches of this process, whose clients it keeps."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="answering", daemon=True).start()
    return loop
