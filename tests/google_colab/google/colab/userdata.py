"""The secrets panel: ``secrets`` holds values, or the exception that asking raises; ``asked`` the names asked for."""

from google.colab import errors

secrets = {"MODEL_PROXY_API_KEY": "stand-in-proxy-token-0123456789"}
asked = []


class NotebookAccessError(Exception):
    def __init__(self, key):
        super().__init__(f"Notebook does not have access to secret {key}")


class SecretNotFoundError(errors.Error):
    def __init__(self, key):
        super().__init__(f"Secret {key} does not exist.")


class TimeoutException(errors.Error):
    def __init__(self, key):
        super().__init__(f"Requesting secret {key} timed out.")


def get(key):
    asked.append(key)
    found = secrets.get(key, SecretNotFoundError)
    if isinstance(found, str):
        return found
    raise found(key)
