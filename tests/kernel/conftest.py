"""A kernel in which the vendors' streams are scripted: mistral's stalls in mid-answer, the others answer."""

import os

import pytest

from tests.kernel.front import kernel


@pytest.fixture(autouse=True)
def _fresh():
    """All that these tests ask runs in the kernel's process."""


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A front end with a kernel of its own, as it has been set up."""
    folder = tmp_path_factory.mktemp("kernel")
    (folder / ".env").touch()
    with kernel(folder, os.environ | {"MOA_MODE": "offline"}) as front:
        yield front
