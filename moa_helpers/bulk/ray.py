"""Many questions on a Ray cluster: its processes ask and answer, and this one hands out questions and keeps the store.

What a process finds out is sent here at once. So a node that dies takes no finished call with it: its questions are
handed to another one, together with all that is known of them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from itertools import count
from typing import Any

from moa_helpers.bulk.answering import Answering
from moa_helpers.bulk.questions import Question
from moa_helpers.bulk.rows import Row
from moa_helpers.bulk.sharing import Limiter, SharedRates
from moa_helpers.bulk.strategies import Strategy, answered
from moa_helpers.limits.rates import Rate
from moa_helpers.limits.scope import Scope, Store
from moa_helpers.limits.tasks import stop
from moa_helpers.limits.values import Limits
from moa_helpers.results import Reply
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.handing import Handed
from moa_helpers.vendors.requests import Request
from moa_helpers.vendors.secrets import redact

MOST_LOST = 3  # workers that may die at the same question
Known = Mapping[Request, Reply]


async def run(work: Answering, questions: Iterator[Question]) -> None:
    """The way through Ray: as many workers as the cluster has processors free, but no more than there are places."""
    cluster = _Cluster(work)
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


def joined() -> tuple[Any, str]:
    """Ray, once this process belongs to a cluster, and the name of this machine in it.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: there is no cluster that can be used.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("how='ray' needs Ray: run `pip install 'moa-helpers[ray]'`.", name="ray") from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level="warning")
        except Exception as error:
            problem = redact(str(error)).strip()
        else:
            problem = ""
        if problem:
            raise RuntimeError(f"There is no Ray cluster that can be used: {problem}")
    return ray, ray.util.get_node_ip_address()


def limiter(ray: Any, rates: Mapping[str, Rate], timeout: float) -> Any:
    """A new limiter, an actor on this node; it ends with the last handle to it."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    options = {"num_cpus": 0, "max_concurrency": 10_000, "scheduling_strategy": here}
    return ray.remote(Limiter).options(**options).remote(rates, timeout)


@dataclass(eq=False)
class _Ally:
    """A worker as this process sees it: ``number`` changes with each of its lives."""

    actor: Any
    limits: Limits
    number: int = 0
    ready: bool = False
    open: dict[str, "asyncio.Future[Row]"] = field(default_factory=dict)  # by the ids of the questions that it has
    waiting: list[tuple[Question, Known]] = field(default_factory=list)  # to be handed to it in this turn of the loop

    async def ask(self, question: Question, known: Known) -> Row:
        loop = asyncio.get_running_loop()
        answer = self.open[question.id] = loop.create_future()
        self.waiting.append((question, known))
        if len(self.waiting) == 1:
            loop.call_soon(self._hand_out)
        return await answer

    def _hand_out(self) -> None:
        if chunk := self.waiting:
            self.waiting = []
            self.actor.take.remote(self.number, chunk)

    def lose(self) -> None:
        self.ready, self.waiting, lost = False, [], [*self.open.values()]
        self.open.clear()
        for answer in lost:
            if not answer.done():
                answer.set_exception(_Lost())


class _Lost(Exception):
    """The worker that had the question has died."""


class _Cluster:
    """The workers of one run, and the limiter that they share."""

    def __init__(self, work: Answering) -> None:
        self._work, self._numbers, self._changed = work, count(1), asyncio.Event()
        self._ray, machine = joined()
        self._check_addresses(machine)
        limits = work.scope.limits
        free = int(self._ray.available_resources().get("CPU", 0))
        size = max(1, min(free, *limits.places().values()))
        rates = work.rates.given if work.rates else {}
        self._limiter = limiter(self._ray, rates, work.strategy.given["timeout"])
        self._handed = Handed(machine), work.strategy, rates
        of_ray = self._ray.remote(Worker).options(
            num_cpus=1, max_restarts=-1, max_concurrency=10_000, scheduling_strategy="SPREAD"
        )
        self.workers = [_Ally(of_ray.remote(), _share(limits, number, size)) for number in range(size)]

    def _check_addresses(self, machine: str) -> None:
        plan = self._work.strategy.plan("?").bound()
        here = [one.model.name for stage in (*plan.stages, *plan.seconds, plan.final) for one in stage if one.here]
        others = {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]} - {machine}
        if here and others:
            raise ValueError(
                f"{here[0]} is on this machine, at an address that the cluster's other machines ({len(others)}) cannot "
                "reach: give its server an address of the network, in LOCAL_BASE_URL or its own variable."
            )

    async def answer(self, question: Question) -> Row:
        """Have the least busy worker answer a question, and another one if that dies."""
        for _ in range(MOST_LOST):
            known = await _known(self._work, question)
            while not (ready := [worker for worker in self.workers if worker.ready]):
                self._changed.clear()
                await self._changed.wait()
            self._work.store.check()
            with suppress(_Lost):
                return await min(ready, key=lambda worker: len(worker.open)).ask(question, known)
        raise RuntimeError(
            f"{MOST_LOST} workers died one after the other while they had the question {question.id!r}. See Ray's logs, "
            "as of their memory; then start again: what is in the file is kept and costs nothing."
        )

    async def listen(self, worker: _Ally) -> None:
        """Take what a worker sends, through all its lives."""
        errors = self._ray.exceptions
        while True:
            worker.number = next(self._numbers)
            try:
                given = worker.number, *self._handed, worker.limits, self._limiter
                async for sent in worker.actor.work.options(num_returns="streaming").remote(*given):
                    for happened in await sent:
                        self._take(worker, *happened)
            except errors.RayTaskError:
                raise
            except errors.RayError as error:
                if getattr(error, "actor_init_failed", False):
                    raise
            worker.lose()

    def _take(self, worker: _Ally, what: str, *given: Any) -> None:
        if what == "ready":
            if given[0] != version():
                raise RuntimeError(f"A worker has moa_helpers {given[0]}, this process {version()}: install the same.")
            worker.ready = True
            self._changed.set()
        elif what == "called":
            store: Any = self._work.scope.store
            store.keep(*given)
        elif answer := worker.open.pop(given[0], None):
            answer.set_result(given[1]) if what == "answered" else answer.set_exception(given[1])

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
        self, number: int, handed: Handed, strategy: Strategy, rates: Mapping[str, Rate], limits: Limits, limiter: Any
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """Begin a life with this number, and yield what happens in it: lists of events, each as soon as it can be."""
        import ray

        handed.take(ray.util.get_node_ip_address())
        await stop([*self._tasks])
        self._number, self._strategy, self._sent = number, strategy, asyncio.Queue[tuple[Any, ...]]()
        self._scope = Scope(limits, rates=SharedRates(limiter, rates), remembers=False)
        yield [("ready", version())]
        while True:
            events = [await self._sent.get()]
            while not self._sent.empty():
                events.append(self._sent.get_nowait())
            yield events

    async def take(self, number: int, chunk: Sequence[tuple[Question, Known]]) -> None:
        """Begin to answer questions, of which some calls may be known; what was meant for another life is left."""
        for question, known in chunk if number == self._number else ():
            task = asyncio.create_task(self._answer(question, known), context=self._scope.context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question, known: Known) -> None:
        try:
            with Scope(store=_Sending(self._sent, known), remembers=False).open():
                result = await answered(self._strategy.plan(question.prompt).bound(streamed=False))
            self._sent.put_nowait(("answered", question.id, Row.of(question, result)))
        except Exception as error:
            self._sent.put_nowait(("failed", question.id, error))


@dataclass(frozen=True)
class _Sending:
    """The store of a worker: it finds what came with the question, and sends what is new."""

    sent: "asyncio.Queue[tuple[Any, ...]]"
    known: Known
    recorded_speed = False

    def find(self, request: Request) -> Reply | None:
        return self.known.get(request)

    def keep(self, request: Request, reply: Reply) -> None:
        self.sent.put_nowait(("called", replace(request, sdk=None), reply))

    def check(self) -> None:
        """Whoever hands out questions has looked."""


@dataclass(frozen=True)
class _Found:
    """A store that notes what another one has. What that has not counts as failed, so that nothing is asked."""

    store: Store
    known: dict[Request, Reply] = field(default_factory=dict)
    recorded_speed = False

    def find(self, request: Request) -> Reply:
        reply = self.store.find(request)
        if reply is None:
            return Reply(request.model.name, failure=failed("cancelled", request.model.name))
        self.known[replace(request, sdk=None)] = reply
        return reply

    def keep(self, request: Request, reply: Reply) -> None:
        """Nothing is asked."""

    def check(self) -> None:
        """Nothing is kept."""


async def _known(work: Answering, question: Question) -> Known:
    """What the store has of a question's calls."""
    assert work.scope.store is not None
    found = _Found(work.scope.store)
    with Scope(store=found, remembers=False).open():
        await answered(work.strategy.plan(question.prompt).bound(streamed=False))
    return found.known


def _share(limits: Limits, number: int, of: int) -> Limits:
    """One worker's share of the places."""
    places = {name: most // of + (number < most % of) for name, most in limits.places().items()}
    return Limits(max_concurrency=places)


def version() -> str:
    """That of this package, which all processes must have."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("moa-helpers")
    return "of no version"
