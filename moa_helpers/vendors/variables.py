"""What the environment, a ``.env`` file and Colab's secrets say: read, and keys checked."""

import os

from moa_helpers.catalogue import VENDORS
from moa_helpers.vendors import colab
from moa_helpers.vendors.secrets import remember


def read() -> dict[str, str]:
    """The variables that are set and not blank; the environment comes before the file."""
    from dotenv import dotenv_values, find_dotenv

    file = dotenv_values(find_dotenv(usecwd=True))
    found = {**file, **{name: value for name, value in os.environ.items() if value.strip()}}
    return {name: value.strip() for name, value in found.items() if value and value.strip()}


def find_keys(values: dict[str, str], *, ask_colab: bool) -> dict[str, str]:
    """Where each vendor's key comes from; a secret of Colab's panel is added to the values."""
    sources = {}
    for vendor in VENDORS.values():
        name = vendor.key_variable
        if name in values:
            sources[vendor.name] = "environment" if os.environ.get(name, "").strip() else ".env"
        elif name and ask_colab and (secret := colab.session.secret(name)):
            values[name], sources[vendor.name] = secret, "Colab secrets"
        if name in values:
            values[name] = remember(values[name])
    return sources
