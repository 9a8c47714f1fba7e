"""A Ray cluster of two nodes beside a head, all on this machine; and vendors that count what they are asked."""

import asyncio
import math
import time
from dataclasses import dataclass

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline.server import OfflineVendors, Server
from tests.support.waiting import wait_until

ray = pytest.importorskip("ray", reason="Ray is not installed: make ray installs it, and runs these tests")

SMALL = {"object_store_memory": 80 * 2**20}  # bytes; the least that Ray takes is 75 MB


@dataclass
class Asked:
    """One request at the vendors."""

    body: bytes
    key: str
    port: int
    at: float
    answered: bool = False


class CountingVendors(OfflineVendors):
    """The embedded vendors, with a log. Once so many were answered as ``limit`` says, all others wait."""

    def clear(self):
        self.log, self.limit, self.waiting = [], math.inf, 0

    @property
    def answered(self):
        return [asked for asked in self.log if asked.answered]

    async def _handle(self, request):
        key = request.headers.get("authorization") or request.headers.get("x-api-key")
        port = request.transport.get_extra_info("peername")[1]
        asked = Asked(await request.read(), key, port, time.perf_counter())
        self.log.append(asked)
        self.waiting += 1
        try:
            while len(self.answered) >= self.limit:
                await asyncio.sleep(0.01)
        finally:
            self.waiting -= 1
        response = await super()._handle(request)
        asked.answered = True
        return response


@pytest.fixture(scope="session")
def _server():
    offline._running = server = Server(CountingVendors(speed=1000.0))
    yield server
    server.stop()


@pytest.fixture
def vendors(_server, tmp_path, monkeypatch):
    """Vendors that were asked nothing yet; each test has an empty directory."""
    (tmp_path / ".env").touch()
    monkeypatch.chdir(tmp_path)
    moa.setup("offline")
    _server.vendors.clear()
    yield _server.vendors
    _server.vendors.limit = math.inf
    wait_until(lambda: not _server.vendors.under_way)
    assert not _server.vendors.under_way, "a request is still under way"


@pytest.fixture(scope="session")
def _cluster(_server):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
    for _ in range(2):
        cluster.add_node(wait=False, num_cpus=1, **SMALL)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def cluster(_cluster, vendors):
    """The cluster, with all its processors free; ``cluster.kill()`` ends one of its nodes at once."""
    _cluster.kill = lambda: _cluster.remove_node([*_cluster.worker_nodes][-1], allow_graceful=False)
    if len(_cluster.worker_nodes) < 2:
        _cluster.add_node(num_cpus=1, **SMALL)
    wait_until(lambda: ray.available_resources().get("CPU") == 2, 60)
    assert ray.available_resources().get("CPU") == 2
    return _cluster
