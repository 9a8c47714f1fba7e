"""Many questions on a Ray cluster: its processes ask and answer, and this one hands out questions and keeps the store.

What a process finds out is sent here at once. So a node that dies takes no finished call with it, but what ended in its
last hundredth of a second: its questions are handed to another process, together with all that is known of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.sharing import Known, Limiter, Sending, SharedRates, known_to
from moa_helpers.bulk.strategies import Strategy, answered
from moa_helpers.limits.rates import Rate
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import TICK, stop
from moa_helpers.limits.values import Limits
from moa_helpers.plan import Plan
from moa_helpers.vendors.handing import Handed
from moa_helpers.vendors.secrets import redact

MOST_LOST = 3  # workers that may die at the same question
SOON = 2.0  # seconds
TOGETHER = 0.01  # seconds in which what happens at a worker is sent together, for half the CPU of a call


async def run(work: Answering, questions: Iterator[Question]) -> None:
    """The way through Ray: as many workers as the cluster has free processors, but no more than there are places."""
    ray, machine = joined(work.strategy.plan("?").bound())
    cluster = _Cluster(work, ray, machine, await _free(ray))
    try:
        tasks = [asyncio.create_task(work.each(questions, work.most_usd, partial(work.answer, by=cluster.answer)))]
        tasks += [asyncio.create_task(cluster.listen(worker)) for worker in cluster.workers]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        cluster.kill()
        await stop(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def joined(plan: Plan) -> tuple[Any, str]:
    """Ray, once this process belongs to a cluster, and the name of this machine in it.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: there is no cluster that can be used.
        ValueError: the plan asks a server on this machine that the cluster's other machines cannot reach.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("This needs Ray: run `pip install 'moa-helpers[ray]'`.", name="ray") from None
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="warning")
        nodes, machine = ray.nodes(), ray.util.get_node_ip_address()
    except Exception as error:
        raise RuntimeError(f"There is no Ray cluster that can be used: {redact(str(error)).strip()}") from None
    others = {node["NodeManagerAddress"] for node in nodes if node["Alive"]} - {machine}
    for request in (one for stage in (*plan.stages, *plan.seconds, plan.final) for one in stage if others and one.here):
        raise ValueError(
            f"{request.model.name} is on this machine, at an address that the other machines of the cluster cannot "
            "reach: give its server one in your network, by the variable that names its address."
        )
    return ray, machine


def limiter(ray: Any, rates: Mapping[str, Rate], longest: float) -> Any:
    """A new limiter, an actor on this node; it ends with the last handle to it."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    options = {"num_cpus": 0, "max_concurrency": 10_000, "scheduling_strategy": here}
    return ray.remote(Limiter).options(**options).remote(rates, longest)


async def _free(ray: Any) -> int:
    """How many processors are free; those of workers that have just ended soon are."""
    until = time.perf_counter() + SOON
    while True:
        free, there = (of().get("CPU", 0) for of in (ray.available_resources, ray.cluster_resources))
        if free >= there or time.perf_counter() > until:
            return int(free)
        await asyncio.sleep(TICK)


class _Lost(Exception):
    """The worker that had the question has died."""


@dataclass(eq=False)
class _Ally:
    """A worker as this process sees it."""

    actor: Any
    limits: Limits  # its share of the places
    number: int = 0  # of its life
    ready: bool = False
    open: dict[str, "asyncio.Future[Row]"] = field(default_factory=dict)  # by the ids of the questions that it has
    chunk: list[tuple[Question, Known]] = field(default_factory=list)  # handed out at the end of this turn of the loop

    async def ask(self, question: Question, known: Known) -> Row:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row] = loop.create_future()
        self.open[question.id] = answer
        self.chunk.append((question, known))
        if len(self.chunk) == 1:
            loop.call_soon(self._hand_out)
        return await answer

    def _hand_out(self) -> None:
        chunk, self.chunk = self.chunk, []
        if chunk:
            self.actor.take.remote(self.number, chunk)

    def lose(self) -> None:
        lost = [*self.open.values()]
        self.ready, self.chunk, self.open = False, [], {}
        for answer in lost:
            if not answer.done():
                answer.set_exception(_Lost())


class _Cluster:
    """The workers of one run, and the limiter that they share."""

    def __init__(self, work: Answering, ray: Any, machine: str, free: int) -> None:
        self._work, self._ray, self._numbers, self._changed = work, ray, count(1), asyncio.Event()
        self._store: Any = work.scope.store
        self._new = work.store.empty  # so that nothing has to be looked for
        rates: Any = work.rates
        self._limiter = limiter(self._ray, rates.given, work.strategy.given["timeout"])
        self._given = Handed(machine), work.strategy, rates.given, self._limiter
        places = work.scope.limits.places()
        size = max(1, min(free, *places.values()))
        self._most = -(-work.at_once // size)  # questions that one has at the same time
        options = {"num_cpus": 1, "max_restarts": -1, "max_concurrency": 10_000, "scheduling_strategy": "SPREAD"}
        worker = self._ray.remote(Worker).options(**options)
        shares = [{name: most // size + (n < most % size) for name, most in places.items()} for n in range(size)]
        self.workers = [_Ally(worker.remote(), Limits(max_concurrency=share)) for share in shares]

    async def answer(self, question: Question) -> Row:
        """Have the least busy worker answer a question, and another one if that dies."""
        for lost in range(MOST_LOST):
            known = {} if self._new and not lost else await self._known(question)
            while not (free := [one for one in self.workers if one.ready and len(one.open) < self._most]):
                self._changed.clear()
                await self._changed.wait()
            self._work.store.check()
            with suppress(_Lost):
                return await min(free, key=lambda one: len(one.open)).ask(question, known)
        raise RuntimeError(
            f"{MOST_LOST} workers died, each while it had the question {question.id!r}: see Ray's logs. Maybe memory "
            "ran out. Then start again: what is in the file is kept and costs nothing."
        )

    async def _known(self, question: Question) -> Known:
        """What the store has of a question's calls."""
        with suppress(TypeError, ValueError):  # for which the worker will refuse it
            plan = self._work.strategy.plan(question.prompt).bound(streamed=False)
            return await known_to(self._store, plan)
        return {}

    async def listen(self, worker: _Ally) -> None:
        """Take what a worker sends, through all its lives."""
        errors, begin = self._ray.exceptions, worker.actor.work.options(num_returns="streaming")
        while True:
            worker.number = next(self._numbers)
            try:
                async for sent in begin.remote(worker.number, worker.limits, *self._given):
                    for what, *given in await sent:
                        self._take(worker, what, *given)
            except errors.RayTaskError:
                raise
            except errors.ActorDiedError as error:  # and Ray does not start it again
                raise RuntimeError(
                    f"A worker cannot begin. Each machine of the cluster needs this version of moa_helpers: install it "
                    f"there, or call ray.init(runtime_env={{'py_modules': [moa_helpers]}}) first. Ray says: "
                    f"{redact(str(error)).strip()}"
                ) from None
            except errors.RayError:
                worker.lose()

    def _take(self, worker: _Ally, what: str, *given: Any) -> None:
        if what == "called":
            self._store.keep(*given)
            return
        if what == "ready":
            worker.ready = True
        elif answer := worker.open.pop(given[0], None):
            answer.set_result(given[1]) if what == "answered" else answer.set_exception(given[1])
        self._changed.set()

    def kill(self) -> None:
        """End all workers and what they are doing, at once."""
        for actor in (*(worker.actor for worker in self.workers), self._limiter):
            self._ray.kill(actor)


class Worker:
    """A process of the cluster that answers questions; an actor of Ray."""

    def __init__(self) -> None:
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def work(
        self, number: int, limits: Limits, handed: Handed, strategy: Strategy, rates: Mapping[str, Rate], limiter: Any
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """Begin a life of this number, and yield what happens in it: lists of events, each at once."""
        import ray

        await stop([*self._tasks])
        handed.take(ray.util.get_node_ip_address())
        sent = self._sent = asyncio.Queue[tuple[Any, ...]]()
        self._number, self._strategy = number, strategy
        self._scope = Scope(limits, rates=SharedRates(limiter, rates), remembers=False)
        yield [("ready",)]
        while True:
            events = [await sent.get()]
            await asyncio.sleep(TOGETHER)
            while not sent.empty():
                events.append(sent.get_nowait())
            yield events

    async def take(self, number: int, chunk: Sequence[tuple[Question, Known]]) -> None:
        """Begin to answer questions, of which some calls may be known; what was meant for another life is left."""
        for question, known in chunk if number == self._number else ():
            task = asyncio.create_task(self._answer(question, known), context=self._scope.context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question, known: Known) -> None:
        try:
            with Scope(store=Sending(self._sent, known), remembers=False).open():
                self._sent.put_nowait(("answered", question.id, await row_of(self._strategy, question)))
        except Exception as error:
            self._sent.put_nowait(("failed", question.id, error))


async def row_of(strategy: Strategy, question: Question) -> Row:
    """Ask a question, and give its row; that of one that cannot be asked says why."""
    try:
        plan = strategy.plan(question.prompt)
    except (TypeError, ValueError) as error:
        return Row(question.id, str(question.prompt), "", "refused", 0.0, 0, 0.0, problem=str(error))
    return Row.of(question, await answered(plan.bound(streamed=False)))
