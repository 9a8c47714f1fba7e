"""The catalogue: every row reads, names are checked, prices and dates mean what they say."""

import csv
import sys
import warnings
from datetime import date, timedelta
from importlib.resources import files

import pytest

import moa_helpers as moa
from moa_helpers import catalogue
from moa_helpers.catalogue import VENDORS

ROWS = list(csv.DictReader((files("moa_helpers.catalogue") / "models.csv").read_text(encoding="utf-8").splitlines()))
NAMES = [f"{row['vendor']}:{row['model_id']}" for row in ROWS]


def test_every_row_reads():
    assert list(moa.models().index) == NAMES
    assert len(set(NAMES)) == len(NAMES)
    for name, row in zip(NAMES, ROWS, strict=True):
        model = moa.find(name)
        assert (model.name, model.vendor.name, model.id) == (name, row["vendor"], row["model_id"])
        assert model.source
        assert model.usd_in_per_m > 0
        assert model.usd_out_per_m >= model.usd_in_per_m
        assert model.token_parameter in ("max_tokens", "max_completion_tokens")


def test_every_vendor_can_be_reached():
    assert {row["vendor"] for row in ROWS} <= set(VENDORS)
    for vendor in VENDORS.values():
        if vendor.name in ("colab", "local"):
            continue  # a function; and wherever a server is found
        local = vendor.base_url.startswith("http://127.0.0.1:")
        assert local or vendor.base_url.startswith("https://")
        assert (vendor.key_variable is None) == local
        assert vendor.url_variable


def test_a_name_without_known_vendor_or_without_id_is_refused():
    for name in ("google:gemini", "gpt-6-luna", "openai:", "openai: ", ":gpt-6-luna", "", "OpenAI:gpt-6-luna"):
        with pytest.raises(moa.UnknownModel, match=r"vendor:model-id.*openai.*mistral"):
            moa.find(name)
    for name in (None, 5, ["openai:gpt-6-luna"], b"openai:gpt-6-luna"):
        with pytest.raises(TypeError, match="string such as"):
            moa.find(name)


def test_a_model_that_is_not_listed_has_no_price_and_no_limits():
    model = moa.find("openai:gpt-99-nova")
    assert (model.tier, model.cost(1000, 1000), model.max_output_tokens) == ("unlisted", None, None)
    assert model.token_parameter == "max_completion_tokens"
    assert moa.find("mistral:new").token_parameter == "max_tokens"


def test_an_id_may_hold_colons_and_slashes():
    assert moa.find("ollama:llama3.2:3b").id == "llama3.2:3b"
    assert moa.find("groq:openai/gpt-oss-120b").usd_in_per_m == 0.15


COSTS = [
    ("openai:gpt-6-luna", (1_000_000, 1_000_000), 0.60),
    ("openai:gpt-6-luna", (1000, 500), 0.00035),
    ("anthropic:claude-haiku-5-5", (100_000, 0), 0.01),
    ("anthropic:claude-haiku-5-5", (100_001, 0), None),  # another price holds above 100,000 input tokens
    ("openai:gpt-6.1-sol", (272_000, 10), 0.5441),
    ("openai:gpt-6.1-sol", (272_001, 10), None),
    ("mistral:mistral-small-2603", (2_000_000, 1_000_000), 0.90),
    ("mistral:mistral-small-2603", (None, 10), None),
    ("mistral:mistral-small-2603", (10, None), None),
    ("mistral:mistral-small-2603", (0, 0), 0.0),
    ("colab:google/gemini-2.5-flash", (None, None), 0.0),  # free
]


def test_cost():
    for name, tokens, dollars in COSTS:
        assert moa.find(name).cost(*tokens) == (None if dollars is None else pytest.approx(dollars)), name


FIGURES = [
    ("openai:gpt-6-luna", "max_output_tokens", 128_000),
    ("openai:gpt-4o", "shutdown_date", date(2027, 1, 14)),
    ("openai:gpt-4o", "successor", "gpt-6-sol"),
    ("anthropic:claude-haiku-5-5", "prices_hold_to_input_tokens", 100_000),
    ("anthropic:claude-haiku-5-5", "token_parameter", "max_tokens"),
    ("openai:gpt-6-luna", "token_parameter", "max_completion_tokens"),
    ("mistral:mistral-small-2603", "context_tokens", 262_144),
    ("groq:openai/gpt-oss-20b", "usd_in_per_m", 0.075),
]


def test_figures_of_a_few_models():
    table = moa.models()
    for name, column, value in FIGURES:
        assert table.loc[name, column] == value
        assert getattr(moa.find(name), column) == value


TEMPERATURES = {
    "openai:gpt-6-luna": False,  # only without reasoning
    "openai:gpt-6.2-astra": False,
    "openai:gpt-4o": True,
    "openai:gpt-99-nova": True,  # unlisted: the vendor decides
    "anthropic:claude-haiku-5-5": False,
    "anthropic:claude-haiku-4-5": False,  # the SDK has no such parameter any more
    "anthropic:claude-99": False,
    "mistral:mistral-small-2603": True,
    "mistral:mistral-large-2411": False,
    "groq:openai/gpt-oss-20b": True,
    "colab:google/gemini-2.5-flash": False,
}


def test_who_takes_a_temperature():
    assert {name: moa.find(name).takes_temperature for name in TEMPERATURES} == TEMPERATURES


def test_a_model_past_its_date_gives_a_warning_that_names_a_living_successor(monkeypatch):
    ending = [moa.find(name) for name, row in zip(NAMES, ROWS, strict=True) if row["shutdown_date"]]
    assert len(ending) >= 5
    for model in ending:
        successor = moa.find(f"{model.vendor.name}:{model.successor}")
        assert successor.tier not in ("unlisted", "retired")
        assert successor.shutdown_date is None
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for day in (model.shutdown_date - timedelta(1), model.shutdown_date):
                monkeypatch.setattr(catalogue, "date", Calendar(day))
                catalogue.warn_of(model)
        (warning,) = heard  # not the day before
        words = f"{model.name} was shut down on {model.shutdown_date}; use {successor.name} instead"
        assert words in str(warning.message)


def test_a_retired_model_warns_whoever_asks_it(run):
    with pytest.warns(UserWarning, match="use anthropic:claude-sonnet-5-5 instead"):
        assert run(moa.ask("anthropic:claude-3-5-sonnet-20240620", "Hello?")).ok


def test_a_misspelt_model_warns_whoever_asks_it(run):
    with pytest.warns(UserWarning, match="gpt-6-lunar is not in the catalogue. Did you mean openai:gpt-6-luna?"):
        assert run(moa.ask("openai:gpt-6-lunar", "Hello?")).ok


@pytest.mark.parametrize("name", ["openai:gpt-7-luna", "openrouter:openai/gpt-6-luna", "groq:x", "local:gpt-6-luna"])
def test_a_model_that_may_well_be_a_new_one_warns_only_where_a_stand_in_takes_its_place(name, run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalogue.warn_of(moa.find(name))
    if name.startswith("local:"):  # those are no vendor's, and the reader names them
        return
    with pytest.warns(UserWarning, match="not in the catalogue. A stand-in answers for it; live it may not exist."):
        assert run(moa.ask(name, "Hello?")).ok


def test_without_pandas_the_table_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'moa-helpers\[lesson\]'"):
        moa.models()


class Calendar:
    """Stands in for ``datetime.date`` and says which day it is."""

    def __init__(self, day):
        self.today = lambda: day
