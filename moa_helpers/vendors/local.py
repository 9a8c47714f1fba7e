"""What runs on the reader's machine: Ollama."""

import json
import threading
from contextlib import closing
from urllib.parse import urlsplit


def ollama_address(host: str) -> str:
    """The address of Ollama's chat completions, from OLLAMA_HOST, which may lack scheme and port, or be 0.0.0.0.

    Raises:
        ValueError: the port is no number.
    """
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = parts.hostname if parts.hostname not in (None, "0.0.0.0", "::") else "127.0.0.1"
    try:
        port = parts.port or (11434 if "://" not in host else 443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(f"OLLAMA_HOST is {host!r}; write it as 127.0.0.1:11434.") from None
    place = f"[{name}]" if ":" in str(name) else name
    return f"{parts.scheme}://{place}:{port}{parts.path.removesuffix('/v1')}/v1"


def running_ollama(url: str, patience: float = 0.3) -> tuple[str, ...]:
    """Names of the models of a running Ollama; none if nothing answers within ``patience`` seconds."""
    # Not urllib.request: it would build a TLS context, which takes longer than all the rest of setup().
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    found: list[str] = []
    place = urlsplit(url)
    kind = HTTPSConnection if place.scheme == "https" else HTTPConnection

    def look() -> None:
        try:
            with closing(kind(place.hostname or "", place.port, timeout=patience)) as direct:
                direct.request("GET", f"{place.path.removesuffix('/v1')}/api/tags")
                answer = direct.getresponse()
                if answer.status == 200:
                    found.extend(f"ollama:{model['name']}" for model in json.load(answer)["models"])
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return  # nothing there, or something that is no Ollama

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(patience)
    return () if thread.is_alive() else tuple(found)
