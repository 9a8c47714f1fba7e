"""Any host: added in code, by a variable or in moa.toml; then its models are named as all others are."""

from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import VENDORS, hosts
from moa_helpers.ui.playground.choice import completed, given
from moa_helpers.vendors import local, settings
from tests.support.pages import report

URL = "https://llm.acme.example/v1"
KEY = "dummy-" + "k" * 20


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch):
    monkeypatch.setattr(offline, "start", lambda values: SimpleNamespace(url="http://offline.invalid"))
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: ((), ()))
    monkeypatch.delenv("MOA_MODE")


def live(monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", KEY)
    moa.setup("live")


def test_a_host_is_a_vendor_like_all_others(monkeypatch, run, script):
    moa.add_host("acme", f"{URL}/", key="ACME_API_KEY", prices={"model-id": (0.1, 0.4)})
    live(monkeypatch)
    assert dict(moa.connection("acme:model-id")) == dict(moa.connection("acme")) == {"api_key": KEY, "base_url": URL}
    assert moa.find("acme:model-id").cost(1_000_000, 1_000_000) == 0.5
    assert moa.find("acme:other").cost(10, 10) is None
    replies = run(moa.fan_out(["acme:model-id", "acme:org/x"], "Why?", max_concurrency={"acme": 1, "all": 8}))
    assert all(reply.ok for reply in replies)
    assert script.most["acme"] == 1
    assert replies[0].cost_usd == moa.find("acme:model-id").cost(100, 20)
    assert "unknown (not in the catalogue)" in str(replies[1])
    assert "not in the catalogue" not in str(replies[0])
    with pytest.raises(ValueError, match=r"no price is known for acme:other\. .* give moa\.add_host\(\) its prices"):
        run(moa.fan_out(["acme:other"], "Why?", budget_usd=1))
    assert "no price known for acme:other (not in the catalogue)" in str(moa.estimate("Why?", ["acme:other"]))
    found = report(moa.setup("live"))
    assert f"key from environment; {URL}, from add_host" in found
    assert KEY not in found
    choice, models = completed(given("Why?", ["acme:other"], "acme:model-id", {}), settings.current())
    assert (choice.models, models["acme:model-id"]) == (("acme:other",), "")


def test_offline_its_stand_in_answers_and_it_takes_faults():
    moa.add_host("acme", URL, key="ACME_API_KEY")
    moa.add_host("beta", URL, api="anthropic")
    moa.setup("offline")
    assert moa.connection("acme")["base_url"] == "http://offline.invalid/acme/v1"
    assert moa.connection("beta")["base_url"] == "http://offline.invalid/beta"
    assert offline.Fault("acme", "429").where == "acme"


def test_what_a_host_needs_and_lacks_is_said(monkeypatch):
    moa.add_host("acme", URL, key="ACME_API_KEY")
    moa.add_host("open", "http://10.0.0.7:8000/v1")
    moa.setup("live")
    with pytest.raises(moa.MissingKey, match="No key for acme: set ACME_API_KEY"):
        moa.connection("acme")
    assert moa.connection("open")["api_key"] == "none-needed"
    assert "no key (ACME_API_KEY)" in report(moa.setup("live"))
    assert moa.setup().mode == "offline", "a host without a key is no reason to go live"
    monkeypatch.setenv("ACME_API_KEY", KEY)
    assert moa.setup().mode == "live"


def test_the_same_name_again_replaces(run):
    moa.add_host("acme", URL, prices={"model-id": (1, 1)})
    moa.add_host("acme", "http://localhost:9000/v1")
    assert moa.find("acme:model-id").usd_in_per_m is None
    moa.setup("live")
    assert moa.connection("acme")["base_url"] == "http://localhost:9000/v1"
    assert settings.priced("acme:model-id").cost(None, None) == 0.0, "it runs here"
    assert "$0.000000 (not in the catalogue)" in str(run(moa.ask("acme:model-id", "Why?")))


def test_in_anthropics_format_the_address_may_end_in_v1():
    for url in (URL, URL.removesuffix("/v1"), f"{URL}/messages"):
        moa.add_host("beta", url, api="anthropic")
        moa.setup("live")
        assert moa.connection("beta")["base_url"] == URL.removesuffix("/v1")


@pytest.mark.parametrize("name", ["Acme", "ac me", "acme:x", "", "-acme", "acme_2", "ä", "a/b", None, 5, "acme\n"])
def test_a_name_that_could_not_be_typed_is_refused(name):
    with pytest.raises(ValueError, match="lower-case letters, digits and dashes"):
        moa.add_host(name, URL)
    assert {*VENDORS} <= {*hosts._TAKEN}


def test_a_vendors_name_is_taken():
    for name, cure in (("openai", "OPENAI_BASE_URL"), ("ollama", "OLLAMA_HOST"), ("local", "LOCAL_BASE_URL")):
        with pytest.raises(ValueError, match=f"There is '{name}' already: .* set {cure}"):
            moa.add_host(name, URL)
    for name in ("colab", "all"):
        with pytest.raises(ValueError, match="already: choose another name"):
            moa.add_host(name, URL)


KEYS = [
    "sk-proj-abc123def456ghi789",
    "AIzaSyD3xAmPlEkEy",
    "0123456789abcdef0123456789abcdef",
    KEY,
    "AKIAIOSFODNN7EXAMPLE",
]
KEYS += ["acme key", "", "gsk_abcdefghijk", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "-", "3KEY"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_shown(key):
    with pytest.raises(ValueError, match="the name of a variable in capital letters") as refused:
        moa.add_host("acme", URL, key)
    assert len(key) < 4 or key not in str(refused.value)
    assert "acme" not in VENDORS


@pytest.mark.parametrize(
    "url", ["llm.acme.example/v1", "ftp://acme.example", "https://", "http://[::1/v1", "https://a:b:c", "https://x y",
            "https://acme.example/v1?key=1", "http://me:secret-word@acme.example:many/", "", "https://acme:99999/v1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_its_login(url):
    with pytest.raises(ValueError, match="write it with its scheme, such as 'https://") as refused:
        moa.add_host("acme", url)
    assert "secret-word" not in str(refused.value)


def test_other_arguments_are_checked_too():
    with pytest.raises(TypeError, match="address must be text"):
        moa.add_host("acme", None)
    with pytest.raises(ValueError, match="takes 'openai' or 'anthropic'"):
        moa.add_host("acme", URL, api="mistral")
    with pytest.raises(TypeError, match="True or False"):
        moa.add_host("acme", URL, stream_options="no")
    with pytest.raises(TypeError, match="prices must be a mapping"):
        moa.add_host("acme", URL, prices=[0.1])
    for pair in (0.1, (0.1,), (0.1, -1), ("a", "b"), (float("nan"), 1), (1, float("inf")), None, (1, 2, 3)):
        with pytest.raises(ValueError, match="US dollars per million tokens, in and out"):
            moa.add_host("acme", URL, prices={"model-id": pair})


def test_a_login_in_its_address_works_and_is_not_shown():
    moa.add_host("acme", "https://me:secret-word@llm.acme.example/v1")
    found = moa.setup("live")
    assert moa.connection("acme")["base_url"] == "https://me:secret-word@llm.acme.example/v1"
    for shown in (str(found), found._repr_html_(), repr(moa.connection("acme")), repr(VENDORS["acme"])):
        assert "secret-word" not in shown


def test_a_variable_names_a_host(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text(f"MOA_HOST_MY_BOX=http://10.0.0.7:8000/v1\nMY_BOX_API_KEY={KEY}\n")
    monkeypatch.setenv("MOA_HOST_ACME", URL)
    found = moa.setup()
    assert (found.mode, found.key_sources) == ("live", {"my-box": ".env"})
    assert dict(moa.connection("my-box:x")) == {"api_key": KEY, "base_url": "http://10.0.0.7:8000/v1"}
    assert moa.connection("acme")["api_key"] == "none-needed"
    assert f"no key needed; {URL}, from MOA_HOST_ACME" in report(found)
    monkeypatch.delenv("MOA_HOST_ACME")
    moa.setup()
    with pytest.raises(moa.UnknownModel, match="my-box"):
        moa.find("acme:x")
    for name, value in (("MOA_HOST_ACME", "acme.example"), ("MOA_HOST_OPENAI", URL), ("MOA_HOST_Ä", URL)):
        with monkeypatch.context() as here:
            here.setenv(name, value)
            with pytest.raises(ValueError, match=rf"^{name}: "):
                moa.setup()


TOML = f"""
[hosts]
acme = "{URL}"
beta = {{url = "https://beta.example", key = "BETA_KEY", api = "anthropic", prices = {{"m" = [0.1, 0.4]}}}}

[hosts.gamma]
url = "http://localhost:9000/v1"
stream_options = false

[other]
x = 1
"""


def test_a_file_names_hosts_here_or_above(monkeypatch, tmp_path):
    (tmp_path / "moa.toml").write_text(TOML, encoding="utf-8-sig")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found = report(moa.setup("live"))
    assert VENDORS["acme"].base_url == URL
    assert (VENDORS["beta"].api, VENDORS["beta"].key_variable) == ("anthropic", "BETA_KEY")
    assert VENDORS["gamma"].stream_options is False
    assert moa.find("beta:m").usd_out_per_m == 0.4
    assert moa.connection("gamma")["base_url"] == "http://localhost:9000/v1"
    assert "from moa.toml" in found
    monkeypatch.setenv("MOA_HOST_ACME", "http://localhost:1/v1")
    moa.setup("live")
    assert VENDORS["acme"].base_url == "http://localhost:1/v1", "a variable comes before the file"
    moa.add_host("acme", "http://localhost:2/v1")
    moa.setup("live")
    assert VENDORS["acme"].base_url == "http://localhost:2/v1", "code comes before both"
    (tmp_path / "moa.toml").unlink()
    moa.setup("live")
    assert {*VENDORS} - {*hosts._TAKEN} == {"acme"}


@pytest.mark.parametrize(
    "text", ["[hosts", "hosts = 5", "[hosts]\nacme = 5", "[hosts]\nacme = {key = 'X'}", "[hosts]\nOpen = 'http://x/v1'",
             f"[hosts]\nacme = {{url = '{URL}', secret = 'x'}}", f"[hosts]\nacme = {{url = '{URL}', key = '{KEY}'}}"],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_with_it(text, tmp_path):
    (tmp_path / "moa.toml").write_text(text)
    with pytest.raises(ValueError, match=r"moa\.toml: ") as refused:
        moa.setup()
    assert KEY not in str(refused.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "moa.toml").write_bytes(b"\xff\xfe[\x00h\x00")
    with pytest.raises(ValueError, match=r"moa\.toml: "):
        moa.setup()
    (tmp_path / "moa.toml").unlink()
    (tmp_path / "moa.toml").mkdir()
    moa.setup()  # a folder of that name is none
