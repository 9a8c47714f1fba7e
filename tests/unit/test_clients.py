"""The SDKs' clients: made without touching the process's environment, and by many threads at once."""

import asyncio
import os
import threading

import openai
import pytest

from moa_helpers.catalogue import VENDORS, find
from moa_helpers.vendors import local, settings, streams, transport
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


def test_clients_made_by_many_threads_keep_the_organisation(monkeypatch):
    monkeypatch.setattr(settings, "_current", None)
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: ((), []))
    for name, value in {"ORG_ID": "ours", "API_KEY": "dummy-of-ours", "BASE_URL": "http://127.0.0.1:9/v1"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    monkeypatch.setenv("MOA_MODE", "live")
    before, seen, problems = dict(os.environ), [], []
    together = threading.Barrier(8)

    async def make():
        clients = [streams.client(find(f"{name}:any")) for name in ("openai", "vllm", "openai")]
        assert clients[0] is clients[2]
        seen.append([client.default_headers.get("OpenAI-Organization") for client in clients[:2]])
        await streams.close()

    def work():
        together.wait()
        try:
            for _ in range(3):
                settings.setup("live")
                asyncio.run(make())
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [one[0] for one in seen] == ["ours"] * 24
    assert all(one[1] != "ours" for one in seen)
    assert dict(os.environ) == before


def test_what_is_on_this_machine():
    for host in (
        "127.0.0.1",
        "127.8.9.1:80",
        "localhost",
        "LOCALHOST.",
        "a.localhost:1",
        "[::1]:80",
        "joe:pw@127.0.0.1",
    ):
        assert transport.loopback(f"http://{host}/v1"), host
    for host in (
        "10.0.0.1",
        "0x7f.1.example",
        "localhost.example",
        "[fe80::1]",
        "example:127",
        "127.0.0.1.example",
        "[bad",
    ):
        assert not transport.loopback(f"http://{host}/v1"), host
    assert not transport.loopback("127.0.0.1:80")


# variables, and which of them is named when a client of a vendor elsewhere is made
BROKEN = [
    ({"HTTPS_PROXY": "socks9://h:1"}, "HTTPS_PROXY"),
    ({"all_proxy": "http://h:port"}, "all_proxy"),
    ({"HTTP_PROXY": "http://127.0.0.1:9", "https_proxy": "ga rb::age"}, "HTTP_PROXY or https_proxy"),
    ({"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere"}, "SSL_CERT_FILE"),
    ({"SSL_CERT_FILE": __file__, "HTTPS_PROXY": "http://127.0.0.1:9"}, "SSL_CERT_FILE"),
]


@pytest.mark.parametrize("api", ["openai", "anthropic", "mistral"])
def test_a_broken_variable_is_named_where_it_matters(api, monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for variables, named in BROKEN:
        with monkeypatch.context() as here:
            for name, value in variables.items():
                here.setenv(name, value)
            with pytest.raises(transport.BrokenVariable, match=f"^{named} cannot be used: .* Correct or remove"):
                transport.http_clients(api, "https://vendor.invalid/v1")
            assert transport.http_clients(api, "http://127.0.0.1:9")
