"""Live, without a key, and with the one model that ``tools/local.py`` serves beside this run."""

import asyncio
import os

import pytest

import moa_helpers as moa
from tests.support import environment

MODEL = "local:smollm2-135m"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/real/" in item.path.as_posix():
            item.add_marker("real")
            if not environment.REAL:
                item.add_marker(pytest.mark.skip(reason="no real model: `make real` starts one"))


@pytest.fixture(autouse=True)
def address(monkeypatch, tmp_path):
    """The server's address, which ``setup()`` has found."""
    for variable in [name for name in os.environ if name.startswith("MOA_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LOCAL_BASE_URL", environment.REAL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()  # found first, so none above it is read
    assert MODEL in moa.setup("live").local_models
    return environment.REAL


@pytest.fixture
def run():
    """Run a coroutine, and close the clients."""

    async def closing(coroutine):
        try:
            return await coroutine
        finally:
            await moa.close()

    return lambda coroutine: asyncio.run(closing(coroutine))
