"""Models on the reader's machine: where servers are looked for, what they say, and what follows from it."""

import dataclasses
from types import SimpleNamespace

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.ui.playground.choice import completed, given
from moa_helpers.vendors import local, settings
from moa_helpers.vendors.secrets import redact
from tests.support.pages import report

HERE, THERE = "http://127.0.0.1:8080/v1", "http://box.example:8080/v1"


@pytest.fixture
def live(monkeypatch):
    """Live, with these servers found: ``live(server, ...)``; variables may be set before."""

    monkeypatch.setattr(offline, "start", lambda values: SimpleNamespace(url="http://offline.invalid"))
    monkeypatch.delenv("MOA_MODE")

    def live(*servers, mode="live"):
        monkeypatch.setattr(local, "find_servers", lambda values, leave_out: (servers, ()))
        return moa.setup(mode)

    return live


def server(url=HERE, models=("tiny",), **more):
    return local.Server("llama.cpp", url, models, **more)


# what a reader writes, and the address that it means
WRITTEN = {
    "localhost:9000": "http://localhost:9000/v1",
    "http://localhost:9000": "http://localhost:9000/v1",
    "http://localhost:9000/v1/": "http://localhost:9000/v1",
    "http://localhost:9000/v1/chat/completions": "http://localhost:9000/v1",
    "127.0.0.1:9000/v1/models": "http://127.0.0.1:9000/v1",
    "box.example/llm": "http://box.example:8080/llm/v1",
    "http://box.example/llm/v3": "http://box.example:80/llm/v3",
    "https://box.example": "https://box.example:443/v1",
    "0.0.0.0:9000": "http://127.0.0.1:9000/v1",
    "[::]:9000": "http://127.0.0.1:9000/v1",
    "[::1]:9000": "http://[::1]:9000/v1",
    "::1": "http://[::1]:8080/v1",
    ":9000": "http://127.0.0.1:9000/v1",
    "9000": "http://127.0.0.1:9000/v1",
    "//localhost:9000": "http://localhost:9000/v1",
    "http://localhost:9000/v1/completions": "http://localhost:9000/v1",
    "http://localhost:9000/V1": "http://localhost:9000/V1",
    "http://localhost:9000/openai/v1/": "http://localhost:9000/openai/v1",
    "me:secret-word@box.example:9000": "http://me:secret-word@box.example:9000/v1",
}


def test_an_address_may_lack_what_can_be_guessed():
    assert {text: local.base_url(text, "LOCAL_BASE_URL") for text in WRITTEN} == WRITTEN


def test_what_is_no_address_is_refused_by_its_variable_and_without_its_login():
    for text in ("box:many", "ftp://box", "me:secret-word@box:many", "http://[::1", "localhost:99999", "a b"):
        with pytest.raises(ValueError, match=r"^LOCAL_BASE_URL is .*; write it as 127\.0\.0\.1:8080") as refused:
            local.base_url(text, "LOCAL_BASE_URL")
        assert "secret-word" not in str(refused.value)
    assert "secret-word" not in repr(local.base_url("me:secret-word@box.example", "LOCAL_BASE_URL"))
    assert "secret-word" not in redact("at http://me:secret-word@box.example")


def urls(**values):
    return [place.url.removeprefix("http://").removesuffix("/v1") for place in local.places(values)[0]]


def test_each_kind_of_server_is_looked_for_where_it_is_or_where_its_variable_says():
    ports = ("8080", "9931", "1234", "8000", "1337", "11434")
    assert urls() == [f"127.0.0.1:{port}" for port in ports]
    assert urls(LLAMA_ARG_PORT="8101")[:2] == ["127.0.0.1:8101", "127.0.0.1:1234"]
    assert "box.example:1234" in urls(LM_STUDIO_URL="http://box.example:1234")
    assert "127.0.0.1:8102" in urls(VLLM_BASE_URL="127.0.0.1:8102")
    assert "localhost:1338" in urls(JAN_API_BASE="http://localhost:1338/v1")
    assert urls(OLLAMA_HOST="0.0.0.0")[-1] == "127.0.0.1:11434"
    assert urls(LOCAL_BASE_URL="localhost:7000, http://[::1]:7001/v1 box.example:7002")[:3] == [
        *("localhost:7000", "[::1]:7001", "box.example:7002")
    ]


def test_a_place_with_two_names_is_looked_at_once():
    assert urls(LOCAL_BASE_URL="localhost:8080 127.0.0.1:8000 0.0.0.0:8080") == [
        *("localhost:8080", "127.0.0.1:8000", "127.0.0.1:9931", "127.0.0.1:1234", "127.0.0.1:1337", "127.0.0.1:11434")
    ]


def test_a_variable_of_another_program_that_holds_no_address_stops_nothing():
    for variable, value in (("LLAMA_ARG_PORT", "99999"), ("JAN_API_BASE", "ftp://x"), ("LM_STUDIO_URL", "a:b")):
        found, (note,) = local.places({variable: value})
        assert len(found) == (4 if variable == "LLAMA_ARG_PORT" else 5)
        assert note.startswith(f"{variable} is '{value}'; write it as")
    for variable in ("LOCAL_BASE_URL", "OLLAMA_HOST"):
        with pytest.raises(ValueError, match=f"^{variable} is"):
            local.places({variable: "99999"})


PLACES = {place.url: place for place in local.places({"LOCAL_BASE_URL": "127.0.0.1:7000"})[0]}


def told(answers, port=7000):
    return local._told(PLACES[f"http://127.0.0.1:{port}/v1"], answers)


LISTS_ONE = {"data": [{"id": "tiny", "object": "model", "owned_by": "me"}]}


def test_a_server_is_told_by_what_it_answers():
    gguf = {"data": [{"id": "/models/x.gguf", "owned_by": "llamacpp", "meta": None}]}
    props = {"total_slots": 4, "default_generation_settings": {"n_ctx": 2048}}
    found = told({"/v1/models": gguf, "/props": props, "/api/tags": {"models": [{"name": "/models/x.gguf"}]}})
    assert (found.software, found.models) == ("llama.cpp", ("/models/x.gguf",))
    assert (found.slots, found.contexts) == (4, {"/models/x.gguf": 2048})
    loaded = [{"id": "1", "config": {"context_length": 4096}}, {"id": "2", "config": {"context_length": 8192}}]
    studio = {"models": [{"key": "tiny", "type": "llm", "loaded_instances": loaded}]}
    found = told({"/v1/models": LISTS_ONE, "/api/v1/models": studio})
    assert (found.software, found.contexts) == ("LM Studio", {"tiny": 4096})
    found = told({"/v1/models": {"data": [{"id": "org/m", "owned_by": "vllm", "max_model_len": 8192}]}})
    assert (found.software, found.models, found.contexts) == ("vLLM", ("org/m",), {"org/m": 8192})
    tags, running = {"models": [{"name": "qwen:3b"}]}, {"models": [{"name": "qwen:3b", "context_length": 4096}]}
    found = told({"/api/tags": tags, "/api/ps": running})
    assert (found.software, found.models, found.contexts) == ("Ollama", ("qwen:3b",), {"qwen:3b": 4096})
    older = {"data": [{"id": "tiny", "type": "llm", "state": "loaded", "loaded_context_length": 4096}]}
    found = told({"/v1/models": LISTS_ONE, "/api/v0/models": older})
    assert (found.software, found.contexts) == ("LM Studio", {"tiny": 4096})


def test_what_only_lists_its_models_is_named_by_its_port():
    for port, name, certain in (
        (8080, "llama.cpp", False),
        (9931, "llama.cpp", False),
        (1234, "LM Studio", False),
        (8000, "vLLM", False),
        (1337, "Jan", True),  # which has no mark of its own
        (11434, "Ollama", False),
        (7000, "a server", True),
    ):
        found = told({"/v1/models": LISTS_ONE}, port)
        assert (found.software, found.certain, found.models) == (name, certain, ("tiny",))
    everywhere = dict.fromkeys((local.LIST, *local.DETAILS), LISTS_ONE)  # it answers the same to any path
    assert (told(everywhere, 8000).software, told(everywhere).software) == ("vLLM", "a server")
    assert told({"/v1/models": {"path": "/v1/models"}, "/props": {"path": "/props"}}) is None


def test_a_model_that_writes_no_text_or_runs_elsewhere_is_left_out():
    studio = [{"key": "tiny", "type": "llm"}, {"key": "vec", "type": "embedding"}, {"key": "old", "type": "embeddings"}]
    listed = {"data": [{"id": name} for name in ("tiny", "vec", "old")]}
    assert told({"/v1/models": listed, "/api/v1/models": {"models": studio}}).models == ("tiny",)
    tags = [
        {"name": "qwen", "capabilities": ["completion", "tools"]},
        {"name": "minilm", "details": {"family": "bert"}},
        {"name": "nomic", "capabilities": ["embedding"]},
        {"name": "big-cloud", "remote_host": "https://elsewhere.example"},
    ]
    listed = {"data": [{"id": entry["name"]} for entry in tags]}
    assert told({"/v1/models": listed, "/api/tags": {"models": tags}}).models == ("qwen",)


def test_garbage_is_no_server_and_odd_entries_are_left_out():
    for listed in (
        {},
        {"data": 5},
        {"data": []},
        {"data": [{}]},
        {"data": ["x"]},
        {"models": {"a": 1}},
        {"data": [None]},
    ):
        assert told({"/v1/models": listed}) is None
    odd = [{"id": 5}, {"id": ""}, {"id": " x"}, {"id": "a\nb"}, {"id": "x" * 400}, {"id": ["x"]}, {"id": "fine"}]
    props = {"total_slots": "4", "default_generation_settings": [1]}
    found = told({"/v1/models": {"data": odd, "object": 1}, "/props": props, "/api/ps": {"models": [7]}})
    assert (found.models, found.slots, found.contexts) == (("fine",), None, {})


def test_models_of_servers_are_asked_where_they_are(live, monkeypatch):
    monkeypatch.setenv("LLAMA_API_KEY", "dummy-llama-key")
    one, two = server(models=("tiny", "big"), key_variables=("LLAMA_API_KEY",)), server(THERE, ("tiny", "far"))
    found = live(one, two)
    assert found.local_models == {"local:tiny": HERE, "local:big": HERE, "local:far": THERE}
    assert found.free_models == ("local:tiny", "local:big")
    assert found.notes == (f"local:tiny is listed at box.example:8080, too: the one at {HERE} is asked.",)
    assert dict(moa.connection("local:big")) == {"api_key": "dummy-llama-key", "base_url": HERE}
    assert dict(moa.connection("local:far")) == {"api_key": "none-needed", "base_url": THERE}
    assert moa.connection("local")["base_url"] == HERE
    assert "dummy-llama-key" not in repr(moa.connection("local")) + redact("dummy-llama-key")


def test_a_model_that_no_server_lists_is_refused_and_what_was_found_is_named(live):
    live(server())
    for name in ("local:tinny", "local:llama3.2:3b"):
        with pytest.raises(moa.UnknownModel, match=rf"lists {name}\. Found: local:tiny\. .*LOCAL_BASE_URL.*setup\(\)"):
            moa.connection(name)
    live()
    for name in ("local:tiny", "local"):
        with pytest.raises(moa.UnknownModel, match="Found: no model at all"):
            moa.connection(name)


def test_prices_hold_at_the_vendors_own_address_only(live, monkeypatch):
    for vendor in ("OPENAI", "MISTRAL", "ANTHROPIC", "GROQ", "TOGETHER"):
        monkeypatch.setenv(f"{vendor}_API_KEY", "dummy-key-0123")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:4000")
    monkeypatch.setenv("GROQ_BASE_URL", "https://api.groq.com/openai/v1/")
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://[::1]:4000/v1")
    live(server(), server(THERE, ("far",)))
    costs = {
        "openai:gpt-6-luna": None,
        "anthropic:claude-haiku-5-5": 0.0,
        "together:openai/gpt-oss-120b": 0.0,
        "mistral:mistral-small-2603": moa.find("mistral:mistral-small-2603").cost(1000, 10),
        "groq:openai/gpt-oss-20b": moa.find("groq:openai/gpt-oss-20b").cost(1000, 10),
        "local:tiny": 0.0,
        "local:far": None,
        "ollama:qwen": 0.0,
        "ollama:gpt-oss:120b-cloud": None,
        "vllm:org/m": 0.0,
        "openai:gpt-99": None,
    }
    assert {name: settings.priced(name).cost(1000, 10) for name in costs} == costs
    assert settings.priced("anthropic:claude-haiku-5-5").cost(None, None) == 0.0
    assert settings.priced("anthropic:claude-haiku-5-5").cost(200_000, 10) == 0.0
    live(mode="offline")
    assert settings.priced("anthropic:claude-haiku-5-5") == moa.find("anthropic:claude-haiku-5-5")
    assert moa.find("openai:gpt-6-luna").usd_in_per_m == 0.1, "the catalogue itself stays as it is"


@pytest.mark.parametrize("place", ["localhost:4000", "127.0.0.1:4000", "gateway.example"])
def test_an_address_of_several_vendors_is_a_gateway_with_their_prices(live, monkeypatch, place):
    looked_past = []
    for vendor in ("OPENAI", "ANTHROPIC", "GROQ"):
        monkeypatch.setenv(f"{vendor}_API_KEY", "dummy-key-0123")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{place}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://me:secret-word@{place}/anthropic")
    live()
    monkeypatch.setattr(local, "find_servers", lambda values, leave_out: (looked_past.extend(leave_out), ((), ()))[1])
    moa.setup("live")
    assert looked_past == [place.replace("localhost", "127.0.0.1") + ":80" * (":" not in place)]
    claude, gpt = "anthropic:claude-haiku-5-5", "openai:gpt-6-luna"
    assert [settings.priced(name) for name in (claude, gpt)] == [moa.find(claude), moa.find(gpt)]
    assert not settings.is_here(moa.find(claude)), "whoever answers may be far away"
    (note,) = settings.current().notes
    assert note.startswith("OPENAI_BASE_URL, ANTHROPIC_BASE_URL share an address, ")
    assert "secret-word" not in note
    monkeypatch.setenv("LOCAL_BASE_URL", place if ":" in place else f"http://{place}")
    moa.setup("live")
    costs = {settings.priced(name).cost(1000, 10) for name in (claude, gpt)}
    assert costs == ({0.0} if ":" in place else {None}), "the reader says that a model server runs there"


def test_what_costs_nothing_keeps_any_budget(live, run, script):
    live(server())
    answer = run(moa.mixture_of_agents("Why?", ["local:tiny"] * 3, "local:tiny", budget_usd=0.01, hedge_after=50))
    assert (answer.outcome, answer.cost_usd) == ("complete", 0.0)
    assert moa.estimate("Why?", ["local:tiny"], "ollama:qwen").most_usd == 0.0
    assert all(asked.request.here for asked in script.asked)
    live(server(), mode="offline")
    run(moa.ask("local:tiny", "Why?"))
    assert not script.asked[-1].request.here


def test_the_report_offers_what_runs_here(live):
    small = server(models=("a", "b"), slots=4, contexts={"a": 2048, "b": 2048})
    far = local.Server("vLLM", THERE, ("org/m",), contexts={"org/m": 8192})
    mixed = local.Server("Ollama", "http://127.0.0.1:11434/v1", ("c", "d"), contexts={"c": 4096})
    none = local.Server("LM Studio", "http://127.0.0.1:1234/v1", ())
    found = report(live(small, far, mixed, none, mode=None))
    assert found.startswith("Mode: OFFLINE")
    assert "runs here, free  llama.cpp at 127.0.0.1:8080: local:a, local:b; 4 slots of 2,048 tokens: more " in found
    assert "model server  vLLM at box.example:8080: local:org/m; a context of 8,192 tokens" in found
    assert "Ollama at 127.0.0.1:11434: local:c, local:d" in found
    assert "LM Studio at 127.0.0.1:1234: no model yet" in found
    guessed = server(certain=False, remark="one call at a time")
    assert "probably llama.cpp at 127.0.0.1:8080: local:tiny; one call at a time" in report(live(guessed))
    assert "For real models, run moa.setup('live') and write 'local:a' into the list of models." in found
    many = report(live(server(models=tuple(f"m{number}" for number in range(40)))))
    assert "local:m11 and 28 more" in many
    assert str(live(mode="offline")).count("local") == 0


def test_what_calls_cost_is_said_as_it_is(live, monkeypatch):
    assert "Calls go to the vendors and cost money." in str(live())
    assert "Calls go to this machine and are free." in str(live(server()))
    assert "Calls go to the vendors and cost money." in str(live(server(THERE)))
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-key-0123")
    assert "Calls go to the vendors and cost money, but those to this machine are free." in str(live(server()))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:4000/v1")
    assert "Calls go to this machine and are free." in str(live(server()))


def test_the_playground_offers_what_runs_here_and_says_what_does_not(live):
    asked = given("Why?", ["local:gone", "local:tiny"], "local:gone", {})
    choice, models = completed(asked, live(server(models=("tiny", "org/a b", "C:\\models\\x.gguf"))))
    assert models["local:org/a b"] == ""
    assert (models["local:tiny"], models["local:gone"]) == ("", "no server on this machine lists it")
    assert choice.aggregator == "local:tiny"
    assert "local:C:\\models\\x.gguf" not in models  # a backslash is no part of a label
    offline_too = completed(asked, live(server(), server(THERE, ("far",)), mode="offline"))[1]
    assert offline_too["local:tiny"] == "real and free: after moa.setup('live')"
    assert offline_too["local:far"] == "real: after moa.setup('live')"


def test_a_login_in_an_address_is_used_and_not_shown(live, monkeypatch):
    found = live(server(local.base_url("me:secret-word@127.0.0.1:8080", "LOCAL_BASE_URL")))
    assert moa.connection("local:tiny")["base_url"] == "http://me:secret-word@127.0.0.1:8080/v1"
    for shown in (str(found), repr(found), found._repr_html_(), repr(moa.connection("local"))):
        assert "secret-word" not in shown


def test_the_older_name_of_ollamas_models_stays(live, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:7777")
    found = live(local.Server("Ollama", "http://127.0.0.1:7777/v1", ("qwen",)))
    assert (found.ollama_models, found.free_models) == (("ollama:qwen",), ("local:qwen",))


def test_settings_compare_and_copy(live):
    found = live(server())
    assert dataclasses.replace(found) == found
