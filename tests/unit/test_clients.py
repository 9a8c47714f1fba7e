"""The SDKs' clients: made without touching the process's environment."""

import os

import openai
import pytest

from moa_helpers.catalogue import VENDORS
from moa_helpers.vendors import openai as adapter

HOW = {"api_key": "a-key", "base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize("vendor", ["openai", "groq"])
def test_a_client_is_made_without_changing_the_environment(vendor, monkeypatch):
    """Another thread may read it meanwhile, or make OpenAI's own client out of it."""
    for name, value in {"ORG_ID": "ours", "PROJECT_ID": "ours", "CUSTOM_HEADERS": "authorization: Bearer ours"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    before, seen = dict(os.environ), []

    class Client(openai.AsyncOpenAI):
        def __init__(self, **options):
            seen.append(dict(os.environ))
            super().__init__(**options)

    monkeypatch.setattr(openai, "AsyncOpenAI", Client)
    headers = adapter.new_client(VENDORS[vendor], HOW).default_headers
    assert [*seen, dict(os.environ)] == [before] * 2
    values = [value for value in headers.values() if isinstance(value, str)]
    assert ("ours" in values, "Bearer ours" in values) == ((True, True) if vendor == "openai" else (False, False))
