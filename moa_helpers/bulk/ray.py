"""Many questions on a Ray cluster: its processes ask, and this one hands out questions and keeps the store.

Every call that has ended is sent here. So a node that dies loses only the calls of its last hundredth of a second. Its
questions go to another process, together with all replies that are known.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.sharing import Known, Limiter, Sending, SharedRates, known_to
from moa_helpers.bulk.strategies import Strategy
from moa_helpers.limits.rates import Rate
from moa_helpers.limits.scope import Scope
from moa_helpers.limits.tasks import TICK, stop
from moa_helpers.limits.values import Limits
from moa_helpers.vendors.handing import Handed
from moa_helpers.vendors.secrets import redact

MOST_LOST = 3  # workers that may die at the same question
SOON = 2.0  # seconds
TOGETHER = 0.01  # seconds of events that a worker sends together, which halves the CPU of a call


async def run(work: Answering, questions: Iterator[Question]) -> None:
    """Ask by Ray: a worker for each free processor of the cluster, but no more workers than places."""
    ray, machine = await joined(work.strategy)
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


async def joined(strategy: Strategy) -> tuple[Any, str]:
    """Ray, once this process is in a cluster that reaches the strategy's models; and this machine's name in it."""
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
    plan = strategy.plan("?").bound()
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
    """How many processors are free. Those of workers that have just ended are free soon."""
    until = time.perf_counter() + SOON
    while True:
        free, there = (of().get("CPU", 0) for of in (ray.available_resources, ray.cluster_resources))
        if free >= there or time.perf_counter() > until:
            return int(free)
        await asyncio.sleep(TICK)


class _Lost(Exception):
    """The worker that had the question has died."""


@dataclass(eq=False)
class _Peer:
    """A worker as this process sees it."""

    actor: Any
    limits: Limits  # its share of the places
    life: int = 0  # counted from 1
    ready: bool = False
    open: dict[str, "asyncio.Future[Row]"] = field(default_factory=dict)  # by the ids of the questions that it has
    chunk: list[tuple[Question, Known]] = field(default_factory=list)  # to hand out at the end of this turn of the loop

    async def ask(self, question: Question, known: Known) -> Row:
        loop = asyncio.get_running_loop()
        self.open[question.id] = loop.create_future()
        self.chunk.append((question, known))
        if len(self.chunk) == 1:
            loop.call_soon(self._hand_out)
        return await self.open[question.id]

    def _hand_out(self) -> None:
        chunk, self.chunk = self.chunk, []
        if chunk:
            self.actor.take.remote(self.life, chunk)

    def lose(self) -> None:
        lost, self.ready, self.chunk, self.open = self.open, False, [], {}
        for answer in lost.values():
            if not answer.done():
                answer.set_exception(_Lost())


class _Cluster:
    """The workers of one start, and the limiter that they share."""

    def __init__(self, work: Answering, ray: Any, machine: str, free: int) -> None:
        self._work, self._ray, self._changed = work, ray, asyncio.Event()
        self._new = work.store.empty  # so there is nothing to look for
        rates, strategy, places = work.rates.given, work.strategy, work.scope.limits.places()
        self._limiter = limiter(ray, rates, strategy.given["timeout"])
        self._given = Handed(machine), strategy, rates, self._limiter
        size = max(1, min(free, *places.values()))
        self._most = -(-work.at_once // size)  # questions that a worker has at the same time
        options = {"num_cpus": 1, "max_restarts": -1, "max_concurrency": 10_000, "scheduling_strategy": "SPREAD"}
        worker = ray.remote(Worker).options(**options)
        shares = [{name: most // size + (n < most % size) for name, most in places.items()} for n in range(size)]
        self.workers = [_Peer(worker.remote(), Limits(max_concurrency=share)) for share in shares]

    async def answer(self, question: Question) -> Row:
        """Have the least busy worker answer a question, and another one if that dies."""
        for lost in range(MOST_LOST):
            known = {} if self._new and not lost else await known_to(self._work.lane, self._work.strategy, question)
            while not (free := [one for one in self.workers if one.ready and len(one.open) < self._most]):
                self._changed.clear()
                await self._changed.wait()
            self._work.store.check()
            with suppress(_Lost):
                return await min(free, key=lambda one: len(one.open)).ask(question, known)
        raise RuntimeError(
            f"{MOST_LOST} workers died, each while it had the question {question.id!r}: see Ray's logs. Memory may "
            "have run out. Start again to go on: the calls in the file cost nothing."
        )

    async def listen(self, worker: _Peer) -> None:
        """Take what a worker sends, through all its lives."""
        errors, begin = self._ray.exceptions, worker.actor.work.options(num_returns="streaming")
        while True:
            worker.life += 1
            try:
                async for sent in begin.remote(worker.life, worker.limits, *self._given):
                    for what, *given in await sent:
                        self._hear(worker, what, *given)
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

    def _hear(self, worker: _Peer, what: str, *given: Any) -> None:
        if what == "called":
            self._work.lane.keep(*given)
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
        self._life, self._tasks = 0, set[asyncio.Task[None]]()

    async def work(
        self, life: int, limits: Limits, handed: Handed, strategy: Strategy, rates: Mapping[str, Rate], limiter: Any
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """Begin a life, and yield what happens in it: lists of events, each at once."""
        import ray

        await stop([*self._tasks])
        handed.take(ray.util.get_node_ip_address())
        sent = self._sent = asyncio.Queue[tuple[Any, ...]]()
        self._life, self._strategy = life, strategy
        self._scope = Scope(limits, rates=SharedRates(limiter, rates), remembers=False)
        yield [("ready",)]
        while True:
            events = [await sent.get()]
            await asyncio.sleep(TOGETHER)
            while not sent.empty():
                events.append(sent.get_nowait())
            yield events

    async def take(self, life: int, chunk: Sequence[tuple[Question, Known]]) -> None:
        """Begin to answer questions, of which some calls may be known. Questions for another life are ignored."""
        for question, known in chunk if life == self._life else ():
            task = asyncio.create_task(self._answer(question, known), context=self._scope.context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question, known: Known) -> None:
        try:
            with Scope(store=Sending(self._sent, known), remembers=False).open():
                self._sent.put_nowait(("answered", question.id, await self._strategy.answer(question)))
        except Exception as error:
            self._sent.put_nowait(("failed", question.id, error))
