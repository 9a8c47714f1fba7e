"""What a server's configuration may say, and the one line with which everything else is refused."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers.serve.config import read_config
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.unit.test_house import ROOT

WELL = f"""
[mixtures.panel]
reference_models = ["{LUNA}", {{ model = "{HAIKU}", system = "You doubt." }}]
aggregator = ["{LUNA}", "{SMALL}"]
quorum = 1
max_concurrency = {{ openai = 2 }}
"""


def written(text):
    path = Path("mixture.toml")
    path.write_text(text)
    return path


def refused(text, **settings):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        read_config(written(text), **settings)
    return str(caught.value)


def test_a_file():
    config = read_config(written(WELL + "[server]\nport = 99\norigins = ['https://a.example']"))
    panel = config.mixtures["panel"]
    assert panel["reference_models"] == [LUNA, moa.Member(HAIKU, system="You doubt.")]
    assert panel["aggregator"] == [LUNA, SMALL]
    assert (panel["quorum"], panel["max_concurrency"]) == (1, {"openai": 2})
    assert (config.host, config.port, config.origins) == ("127.0.0.1", 99, ["https://a.example"])


def test_layers_hold_members_too():
    layers = f'[mixtures.a]\nlayers = [["{LUNA}", {{ model = "{SMALL}", temperature = 0.9 }}], ["{HAIKU}"]]'
    config = read_config(written(f'{layers}\naggregator = {{ model = "{LUNA}", max_tokens = 9 }}'))
    assert config.mixtures["a"]["layers"] == [[LUNA, moa.Member(SMALL, temperature=0.9)], [HAIKU]]
    assert config.mixtures["a"]["aggregator"] == moa.Member(LUNA, max_tokens=9)


def test_a_mapping_and_what_wins():
    tables = {"mixtures": {"a/b:c": {"reference_models": [LUNA], "aggregator": LUNA}}, "server": {"port": 1}}
    assert read_config(tables, port=0, host="::1").port == 0
    assert read_config(tables).port == 1
    assert "secret-token" not in repr(read_config(tables, token="secret-token-of-mine"))


def test_the_token_of_the_environment(monkeypatch):
    monkeypatch.setenv("MOA_SERVE_TOKEN", "from-the-environment")
    monkeypatch.setattr("moa_helpers.vendors.settings._current", None)
    monkeypatch.setattr("moa_helpers.offline.start", lambda *variables: SimpleNamespace(url="http://offline.invalid"))
    assert read_config(written(WELL), host="0.0.0.0").token == "from-the-environment"
    assert read_config(written(WELL + "[server]\ntoken = 'of the file'")).token == "of the file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There is no mixture: add a table [mixtures.NAME]"),
        ("[mixtures]", "There is no mixture"),
        ("mixtures = 3", "[mixtures] must be a table, not int"),
        ("[mixture.a]", "takes mixtures, server, not 'mixture'"),
        ("[mixtures]\na = 3", "[mixtures.a] must be a table, not int"),
        ("[mixtures.a]", "[mixtures.a]: Give the reference models as a list of names"),
        (WELL + WELL, "Cannot declare ('mixtures', 'panel') twice"),
        ("[mixtures.panel", "Expected ']'"),
        (WELL.replace("panel", '"a b"'), "name it with letters, digits"),
        (WELL.replace("panel", '""'), "name it with letters, digits"),
        (WELL.replace(LUNA, "opnai:gpt"), "[mixtures.panel]: 'opnai:gpt' names no model"),
        (WELL.replace(f'"{LUNA}"', "7"), "[mixtures.panel]: A model is named by a string"),
        (WELL.replace("quorum = 1", "quorum = 9"), "quorum is 9, but only 2 models are asked"),
        (WELL.replace("quorum = 1", "quorum = -1"), "quorum is -1; it must be above 0"),
        (WELL.replace("quorum = 1", "quorum = '2'"), "quorum must be a whole number"),
        (WELL.replace("quorum", "quorem"), "[mixtures.panel] takes reference_models, aggregator"),
        (WELL.replace("quorum = 1", "prompt = 'Hello?'"), "not 'prompt'"),
        (WELL.replace("system", "sytem"), "[mixtures.panel]: A member takes model, system, temperature"),
        (WELL.replace("model = ", "name = "), "A member takes model"),
        (WELL.replace(f'model = "{HAIKU}", ', ""), "a member needs its model"),
        (WELL.replace("system = ", "temperature = "), "temperature must be a number"),
        (WELL + "[server]\nprot = 1", "[server] takes host, port, token"),
        (WELL + "[server]\nmixtures = 1", "not 'mixtures'"),
        ("server = 1\n" + WELL, "[server] must be a table, not int"),
        (WELL + "[server]\nport = -1", "port is -1; it must be at least 0"),
        (WELL + "[server]\nport = 65536", "port is 65536; it must be at most 65535"),
        (WELL + "[server]\nport = '80'", "port must be a whole number"),
        (WELL + "[server]\nhost = ''", "The host is empty"),
        (WELL + "[server]\nhost = 1", "The host must be text"),
        (WELL + "[server]\nhost = '0.0.0.0'", "host is 0.0.0.0, where others may ask, too: set a token"),
        (WELL + "[server]\nhost = '::'", "set a token"),
        (WELL + "[server]\nhost = 'llm.example'", "set a token"),
        (WELL + "[server]\nhost = '192.168.0.1'\ntoken = ''", "The token is empty"),
        (WELL + "[server]\ntoken = 5", "The token must be text"),
        (WELL + "[server]\ntoken = ' a b'", "token must be of ASCII"),
        (WELL + "[server]\ntoken = 'clé'", "token must be of ASCII"),
        (WELL + '[server]\ntoken = "two\\nlines"', "token must be of ASCII"),
        ("a = " + "[" * 5000 + "]" * 5000, "recursion"),
        (WELL + "[server]\nstore = 5", "The store must be text"),
        (WELL + "[server]\nmax_requests = 0", "max_requests is 0; it must be above 0"),
        (WELL + "[server]\nmax_requests = 1.5", "max_requests must be a whole number"),
        (WELL + "[server]\ndrain_seconds = -1", "drain_seconds is -1"),
        (WELL + "[server]\ndrain_seconds = nan", "drain_seconds is nan"),
        (WELL + "[server]\ndaily_budget_usd = 0", "daily_budget_usd is 0; it must be above 0"),
        (WELL + "[server]\ndaily_budget_usd = 1e-9", "but daily_budget_usd is $1e-09"),
        (WELL.replace(HAIKU, "openai:new") + "[server]\ndaily_budget_usd = 1", "daily_budget_usd cannot be kept"),
        (WELL + "[server]\nprogress = 1", "progress must be true or false"),
        (WELL + "[server]\norigins = 'https://a.example'", "origins must be a list"),
        (WELL + "[server]\norigins = ['*']", "origins must be a list of addresses"),
        (WELL + "[server]\norigins = ['https://a.example/path']", "without a path"),
        (WELL + "[server]\norigins = [1]", "origins must be a list"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, words):
    said = refused(text)
    assert words in said
    assert said.startswith("mixture.toml: ")


def test_a_file_that_cannot_be_read():
    with pytest.raises(ValueError, match=r"\Anowhere.toml: No such file or directory\Z"):
        read_config("nowhere.toml")
    with pytest.raises(ValueError, match=r"Is a directory"):
        read_config(".")
    Path("mixture.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"\Amixture.toml: "):
        read_config("mixture.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host):
    assert read_config(written(WELL), host=host).token is None


ORDERS = (
    "import moa_helpers as moa; first = moa.serve; import moa_helpers.serve",
    "import moa_helpers.serve; import moa_helpers as moa; first = moa.serve",
    "from moa_helpers import serve as first; import moa_helpers.serve.gate; import moa_helpers as moa",
)


SHARED = """
import sys
for order in ORDERS:
    for name in [name for name in sys.modules if name.startswith("moa_helpers")]:
        del sys.modules[name]
    import moa_helpers
    assert "moa_helpers.serve" not in sys.modules, "a library that does not serve loads it"
    exec(order)
    assert first is moa.serve is sys.modules["moa_helpers.serve"], order
    assert hasattr(moa.serve("mixture.toml", port=0), "__aenter__")
"""


def test_the_function_and_the_package_share_a_name():
    """In whatever order they are imported."""
    subprocess.run([sys.executable, "-c", f"ORDERS = {ORDERS!r}\n{SHARED}"], check=True, cwd=ROOT)
