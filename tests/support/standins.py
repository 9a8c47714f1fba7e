"""The offline stand-ins' own answers through the seam: what they say without their server, and without an SDK."""

from types import SimpleNamespace

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from moa_helpers.offline.faults import Faults
from tests.support.scripts import Act


class Whole(Act):
    """A text of any kind or length, in one piece."""

    def pieces(self, request):
        return [self.text]


class StandIn(Act):
    """A stand-in's whole answer in one piece."""

    def pieces(self, request):
        return [said(request)]


def said(request):
    """What the stand-in for a request's model says; under ``offline.fault(…, "liar")``, what is false."""
    model, prompt = request.model, request.prompt
    fault = offline.start().vendors.faults.next(model.vendor.name, model.name, prompt)
    return standins.answer(
        model, request.system or "", prompt, request.sample, lie=bool(fault) and fault.kind == "liar"
    )


def enter(monkeypatch, script):
    """Have every model without a script answer as its stand-in; ``offline.fault`` with ``"liar"`` works too."""
    there = SimpleNamespace(url="http://offline.invalid", vendors=SimpleNamespace(faults=Faults()))
    monkeypatch.setattr(offline, "start", lambda *variables: there)
    script.default = StandIn(after=0.1, tokens=(200, 100))
    return script


def comparing(run, monkeypatch, script):
    """``moa.compare`` against stand-ins on a virtual clock, 32 calls at a time, in a file of this test's own."""
    enter(monkeypatch, script)

    def compare(questions, strategies, **options):
        return run(moa.compare(questions, strategies, **{"max_concurrency": 32, **options}))

    return compare


def without_times(found):
    """The table of a comparison, but for how long it took."""
    return found.table().drop(columns="seconds")
