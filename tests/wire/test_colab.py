"""Google Colab: the secrets of its panel and the list of its free models, against a stand-in of its package."""

import threading

import pytest

import moa_helpers as moa
from moa_helpers.vendors import colab as google
from tests.support.pages import report

KEY = "dummy-" + "k" * 20
GEMINI, GEMMA = "colab:google/gemini-2.5-flash", "colab:google/gemma-3-27b-it"


# Secrets


def test_secrets(colab, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "dummy-anthropic")
    colab.userdata.secrets |= {"OPENAI_API_KEY": KEY, "TOGETHER_API_KEY": " "}
    settings = moa.setup()
    assert settings.mode == "live"
    assert settings.key_sources == {"openai": "Colab secrets", "anthropic": "environment"}
    assert moa.connection("openai")["api_key"] == KEY
    assert KEY not in str(settings) + repr(settings) + settings._repr_html_() + settings._repr_markdown_()
    assert settings.notes == ()
    moa.setup()
    assert colab.userdata.asked.count("OPENAI_API_KEY") == 1
    assert "ANTHROPIC_API_KEY" not in colab.userdata.asked


def test_a_secret_that_is_added_later_is_found(colab):
    assert moa.setup().mode == "offline"
    colab.userdata.secrets["OPENAI_API_KEY"] = KEY
    assert moa.setup().key_sources == {"openai": "Colab secrets"}


def test_a_secret_that_is_denied_is_not_asked_for_again(colab):
    colab.userdata.secrets |= {"OPENAI_API_KEY": KEY, "GROQ_API_KEY": colab.userdata.NotebookAccessError}
    for _ in range(2):  # a second dialog would annoy
        settings = moa.setup()
        assert settings.key_sources == {"openai": "Colab secrets"}
        assert "no access to GROQ_API_KEY, so not asked for again" in str(settings)
    assert colab.userdata.asked.count("GROQ_API_KEY") == 1


@pytest.mark.parametrize("token_is_known", [False, True])
def test_a_panel_that_times_out_is_asked_nothing_more(token_is_known, colab, run, monkeypatch):
    if token_is_known:
        monkeypatch.setenv("MODEL_PROXY_API_KEY", "known-from-before")
    colab.userdata.secrets["ANTHROPIC_API_KEY"] = colab.userdata.TimeoutException
    for _ in range(2):
        settings = moa.setup()
        assert settings.mode == "offline"
        assert "the panel did not answer in time, so it is not asked again" in str(settings)
        assert settings.colab_models == ((GEMINI, GEMMA) if token_is_known else ())
    moa.setup("live")
    if token_is_known:
        assert run(moa.ask(GEMINI, "Hello?")).ok
    else:
        with pytest.raises(moa.MissingKey, match=r"did not answer in time.*open the notebook in Colab's own page"):
            run(moa.ask(GEMINI, "Hello?"))
    assert colab.userdata.asked == ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]  # each time-out takes ten seconds


def test_nothing_is_asked_when_offline_is_asked_for(colab, monkeypatch):
    monkeypatch.setattr(colab.ai, "list_models", lambda: pytest.fail("the network was used"))
    assert moa.setup("offline").notes == ()
    assert not colab.userdata.asked


# The free models


def test_without_a_key_the_free_models_are_offered(colab):
    settings = moa.setup()
    assert settings.mode == "offline"  # noticed, not used unasked
    assert settings.colab_models == settings.free_models == (GEMINI, GEMMA)
    assert f"run moa.setup('live') and write '{GEMINI}' into the list of models." in str(settings)
    assert f"free on Colab  {GEMINI}, {GEMMA}" in report(moa.setup("live"))


def test_the_models_are_listed_once(colab, monkeypatch):
    asked = []
    monkeypatch.setattr(colab.ai, "list_models", lambda: asked.append(1) or ["google/gemini-2.5-flash"])
    assert moa.setup().colab_models == moa.setup().colab_models == (GEMINI,)
    assert len(asked) == 1


def test_a_list_that_comes_late_is_there_the_next_time(colab, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(colab.ai, "list_models", lambda: go.wait(60) and ["google/gemini-2.5-flash"])
    found = google.Session()
    assert found.models(patience=0.05) == ()
    assert found.notes() == ["The free models of Colab are not listed yet: run moa.setup() again."]
    go.set()
    assert found.models(patience=60) == (GEMINI,)
    assert found.notes() == []


def test_a_list_that_fails_is_reported_without_the_key(colab, monkeypatch):
    token = colab.ai._token()

    def fail():
        raise colab.ai.ModelProxyServiceError(f"no list for {token}")

    monkeypatch.setattr(colab.ai, "list_models", fail)
    found = str(moa.setup())
    assert "The free models of Colab could not be listed: ModelProxyServiceError: no list for [key]" in found
