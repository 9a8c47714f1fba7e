"""What each SDK really puts on the wire, for every model of the catalogue."""

import csv
import warnings
from importlib.resources import files

import pytest

import moa_helpers as moa
from moa_helpers.catalogue import VENDORS

ROWS = list(csv.DictReader((files("moa_helpers.catalogue") / "models.csv").read_text(encoding="utf-8").splitlines()))
LISTED = {f"{row['vendor']}:{row['model_id']}": row for row in ROWS}
UNLISTED = ["openai:new", "anthropic:new", "mistral:new", "ollama:llama3.2:3b", "vllm:org/model"]
MODELS = [*LISTED, *UNLISTED]
SYSTEM, PROMPT = "Be brief.", "Why is the sky blue?"


@pytest.fixture
def sent(run, live, recorder):
    """Ask models, even those whose time is over; returns each one's request by its name."""

    def sent(names, **options):
        recorder.requests.clear()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was shut down on |The model .* is deprecated")
            replies = run(moa.fan_out(names, PROMPT, **options))
        assert [reply.failure for reply in replies] == [None] * len(names)
        assert len(recorder.requests) == len(names)
        return {f"{request['path'].split('/')[1]}:{request['body']['model']}": request for request in recorder.requests}

    return sent


def test_no_vendor_is_forgotten_here():
    assert {name.partition(":")[0] for name in MODELS} == set(VENDORS) - {
        "colab",
        "local",
    }  # which have tests of their own


def test_every_model_is_sent_what_it_takes(sent):
    requests = sent(MODELS, system=SYSTEM, max_tokens=77)
    for name in MODELS:
        vendor, _, model_id = name.partition(":")
        body, headers, path = requests[name]["body"], requests[name]["headers"], requests[name]["path"]
        anthropic = vendor == "anthropic"
        assert path == f"/{vendor}" + ("/v1/messages" if anthropic else "/v1/chat/completions")
        key = f"dummy-{vendor}" if VENDORS[vendor].key_variable else "none-needed"
        assert headers["Authorization"] == f"Bearer {key}"
        assert not [header for header in headers if header.lower().startswith("x-moa")]

        unlisted = "max_completion_tokens" if vendor == "openai" else "max_tokens"
        limit = LISTED[name]["token_parameter"] if name in LISTED else unlisted
        user, system = {"role": "user", "content": PROMPT}, {"role": "system", "content": SYSTEM}
        wanted = {"model": model_id, "stream": True, "messages": [system, user], limit: 77}
        if anthropic:
            wanted |= {"system": SYSTEM, "messages": [user]}
        if VENDORS[vendor].api == "openai":
            wanted |= {"stream_options": {"include_usage": True}}
        assert {key: value for key, value in body.items() if value is not None} == wanted, name


def test_a_temperature_goes_to_those_who_take_it(sent, run, recorder):
    def takes(name):
        listed = LISTED[name]["accepts_temperature"] if name in LISTED else "yes"
        return listed == "yes" and not name.startswith("anthropic:")

    takers = [name for name in MODELS if takes(name)]
    requests = sent(takers, temperature=0.3)
    assert {requests[name]["body"]["temperature"] for name in takers} == {0.3}
    recorder.requests.clear()
    others = [name for name in MODELS if not takes(name)]
    assert len(others) > 10
    for name in others:
        with pytest.raises(ValueError, match=r"takes no temperature.*leave it out"):
            run(moa.ask(name, PROMPT, temperature=0.3))
    assert not recorder.requests


def test_without_a_system_message_none_is_sent(models, sent):
    for request in sent(models).values():
        assert request["body"]["messages"] == [{"role": "user", "content": PROMPT}]
        assert "system" not in request["body"]


def test_the_same_model_twice_is_asked_in_the_same_way_live(models, live, recorder, run):
    replies = run(moa.fan_out([models[0]] * 2, PROMPT))
    first, second = recorder.requests
    assert [reply.text for reply in replies] == ["Hello there."] * 2
    assert first["body"] == second["body"]
    assert not [header for header in second["headers"] if header.lower().startswith("x-moa")]


def test_what_an_aggregator_is_sent(models, live, recorder, run):
    for aggregator in models:
        recorder.requests.clear()
        answer = run(moa.mixture_of_agents(PROMPT, models, aggregator))
        assert (answer.outcome, answer.text) == ("complete", "Hello there.")
        assert [reply.model for reply in answer.replies] == [*models, aggregator]
        assert answer.cost_usd == pytest.approx(sum(moa.find(name).cost(7, 3) for name in [*models, aggregator]))
        *_, last = recorder.requests
        sent = last["body"]
        assert sent["model"] == aggregator.partition(":")[2]
        system = sent["system"] if "system" in sent else sent["messages"][0]["content"]
        assert system == moa.aggregator_system(answer.layers[0])
        assert sent["messages"][-1] == {"role": "user", "content": PROMPT}


def test_a_streamed_mixture(models, live, run):
    async def watch():
        return [event async for event in moa.stream_mixture(PROMPT, models, models[1])]

    events = run(watch())
    assert "".join(event.text for event in events if isinstance(event, moa.AggregatorDelta)) == "Hello there."
    assert events[-1].answer.outcome == "complete"


def test_a_missing_key_stops_all_before_any_call_is_paid_for(models, live, recorder, monkeypatch, run):
    async def stream(prompt, models, aggregator):
        return [event async for event in moa.stream_mixture(prompt, models, aggregator)]

    def calls(models):
        yield moa.ask(models[-1], PROMPT)
        yield moa.fan_out(models, PROMPT)
        yield moa.mixture_of_agents(PROMPT, models, models[0])
        yield stream(PROMPT, models, models[0])

    for lacking in models:
        vendor = lacking.partition(":")[0]
        with monkeypatch.context() as without:
            without.setenv(f"{vendor.upper()}_API_KEY", " ")
            moa.setup()
            for call in calls([*(model for model in models if model != lacking), lacking]):
                with pytest.raises(moa.MissingKey, match=rf"No key for {vendor}: set .* in the environment") as caught:
                    run(call)
                assert f"moa.setup() again; or leave {vendor} out" in str(caught.value)
    assert not recorder.requests


def test_setup_in_the_middle_of_a_call_redirects_nothing(models, question, recorder, live_at, run):
    async def go():
        heard = []
        async for event in moa.stream_mixture(question, models, models[0]):
            if not heard:
                live_at(recorder.url)  # from the first event on, while the aggregator is still to be asked
            heard.append(event)
        return heard[-1].answer

    answer = run(go())
    assert recorder.requests == []
    assert (answer.outcome, {reply.offline for reply in answer.replies}) == ("complete", {True})
