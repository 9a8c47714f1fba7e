"""What all tests share: an environment without the developer's keys, addresses and proxies."""

import os

import pytest

from moa_helpers.catalogue import VENDORS
from tests.support import environment

environment.clean()


@pytest.fixture(autouse=True)
def _as_before():
    """Environment and vendors are as before after each test, and after monkeypatch, which may bring a variable back."""
    before, vendors = dict(os.environ), dict(VENDORS)
    yield
    for known, then in ((os.environ, before), (VENDORS, vendors)):
        known.clear()
        known.update(then)


def pytest_configure(config):
    # matplotlib 3.10 (Colab's) uses names that newer versions of pyparsing call deprecated.
    config.addinivalue_line("filterwarnings", "ignore:.* deprecated - use .*:DeprecationWarning:matplotlib")
