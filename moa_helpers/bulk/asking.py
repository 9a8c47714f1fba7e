"""How a question goes on: its mixture is carried out on what the store has. The calls that are missing are noted."""

from dataclasses import replace

from moa_helpers.bulk.answering import Answering
from moa_helpers.limits.scope import Store
from moa_helpers.results import Failure, Reply
from moa_helpers.store.answers import key_of_request
from moa_helpers.store.jobs import Item, Ledger, Planned
from moa_helpers.vendors.batches import goes_by_batch
from moa_helpers.vendors.errors import failed
from moa_helpers.vendors.requests import Request

LAST = 1_000_000  # the number of the aggregators' stage


class Asking(Store):
    """The store for a question's mixture: it gives the replies that are known, and notes the requests that are missing.

    A stage begins once its quorum is in, or else once all calls of the stage before have ended. The replies that enter
    it are written down, as a later reply must not change a prompt that is paid for already. ``saved`` is the progress
    of the question so far. With ``late_live``, a request that failed in a batch is asked live.
    """

    def __init__(
        self, work: Answering, ledger: Ledger, saved: Planned | None, quorum: int | None, late_live: bool
    ) -> None:
        self._work, self._ledger, self._saved, self._quorum = work, ledger, saved, quorum
        self._late_live = late_live
        self.stage = saved.stage if saved else 1
        self.entered = list(saved.entered) if saved else []  # keys of replies that entered this stage
        self.wanted: dict[str, Request] = {}  # requests of the stage to send in a batch
        self.waits: list[str] = []  # their keys, and those under way
        self.live = False  # whether a request of the stage is to be asked live
        self._at, self._good, self._here = 1, list[str](), 0  # the stage asked; good replies in all; in the stage

    @property
    def ended(self) -> bool:
        """Whether no request is missing."""
        return not (self.waits or self.live)

    def planned(self, question: str, start: str, asked: str) -> Planned:
        """The progress of the question."""
        need = None if self._quorum is None or self._at == LAST else max(1, self._quorum - self._here)
        return Planned(question, start, asked, self.stage, self.entered, self.waits, need, self.live)

    def find(self, request: Request) -> Reply | None:
        """The reply to a request, if it is known; None: ask it live, now."""
        key, stage = key_of_request(request), _stage(request)
        if not self.ended and (stage == self._at == LAST or (stage > self._at and self._quorum is None)):
            return _without(request, Failure("pending", "The stage before it has not ended."))
        if stage > self._at:
            self._begin(stage)
        item = self._ledger.item(key)
        if stage < self.stage and key not in self.entered:
            return _late(request, item)
        if reply := self._work.store.find(request):
            self._good.append(key)
            self._here += 1
            return reply
        if item and item.state == "failed":
            return _late(request, item)
        if self._goes_live(request, item):
            if self._saved and self._saved.live:
                return None
            self.live = True
        else:
            self.waits.append(key)
            if item is None or item.state != "open":
                self.wanted[key] = request
        return _without(request, Failure("pending", "It has not ended."))

    def keep(self, request: Request, reply: Reply) -> None:
        """A call that was made live has ended."""
        key = key_of_request(request)
        self._work.lane.keep(request, reply)
        if reply.ok:
            self._good.append(key)
            self._here += 1
        elif not reply.abandoned:
            self._ledger.fail(key, reply)

    def check(self) -> None:
        """Raise OSError if new replies could not be kept."""
        self._work.lane.check()

    def _begin(self, stage: int) -> None:
        self._at, self._here, self.live = stage, 0, False
        self.wanted, self.waits = {}, []
        if stage > self.stage:
            self.stage, self.entered = stage, [*self._good]
            if self._saved:
                self._ledger.enter(self._saved.question, stage, self.entered)

    def _goes_live(self, request: Request, item: Item | None) -> bool:
        late = self._late_live and item is not None and item.state == "again"
        return late or not goes_by_batch(request) or (self._work.how == "mixed" and _stage(request) == LAST)


def _stage(request: Request) -> int:
    number = request.role.removeprefix("layer ")
    return LAST if request.role == "aggregator" else int(number) if number.isdecimal() else 1


def _late(request: Request, item: Item | None) -> Reply:
    if item and (reply := item.failed):
        return replace(reply, model=request.model.name, offline=request.offline)
    return _without(request, failed("cancelled", request.model.name))


def _without(request: Request, failure: Failure) -> Reply:
    return Reply(request.model.name, failure=failure, cost_usd=0.0, offline=request.offline)
