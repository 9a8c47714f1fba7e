"""The free models: a test sets ``models`` and ``answer``, and reads ``asked``."""

import os

from google.colab import userdata


class ModelProxyServiceError(Exception):
    pass


models = ["google/gemini-2.5-flash", "google/gemma-3-27b-it"]
asked = []  # (prompt, model_name)


def answer(prompt, model_name):
    """The pieces of an answer; the first is None, as the vendor's first chunk has no content."""
    yield None
    yield f"{model_name} says: "
    yield "hello."


def list_models() -> list[str]:
    _token()
    return list(models)


def generate_text(prompt: str, model_name: str = "google/gemini-2.5-flash", stream: bool = False):
    _token()
    asked.append((prompt, model_name))
    pieces = answer(prompt, model_name)
    return pieces if stream else "".join(piece or "" for piece in pieces)


def _token():
    if "MODEL_PROXY_API_KEY" not in os.environ:
        os.environ["MODEL_PROXY_API_KEY"] = userdata.get("MODEL_PROXY_API_KEY")
    return os.environ["MODEL_PROXY_API_KEY"]
