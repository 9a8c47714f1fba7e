"""The settings of this process, for another one that asks in its place: keys included, and none of them shown."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moa_helpers.catalogue import VENDORS
from moa_helpers.vendors import settings
from moa_helpers.vendors.secrets import remember_logins
from moa_helpers.vendors.variables import with_logins


class Handed:
    """What ``setup()`` found here. It prints nothing; pickled it holds the keys, and is for the other process alone."""

    def __init__(self, machine: str) -> None:
        now = settings.current()
        values = {name: str(value) for name, value in now._values.items()}
        addresses = {name: str(url) for name, url in now.local_models.items()}
        hosts = {name: vendor for name, vendor in VENDORS.items() if vendor.origin}
        self._hold(machine, replace(now, keep=None), values, addresses, hosts)

    def _hold(self, *given: Any) -> None:
        # a function holds them, as vars() shows what an attribute holds
        self._given: Callable[[], tuple[Any, ...]] = lambda: given

    def __reduce__(self) -> tuple[Any, ...]:
        return _handed, self._given()

    def take(self, machine: str) -> None:
        """Use these settings in this process; offline, its own stand-ins where the others' are on another machine."""
        there, found, values, addresses, hosts = self._given()
        if found.mode == "offline" and machine != there:
            from moa_helpers import offline

            found = replace(found, offline_url=offline.start(values).url)
        local_models = {name: remember_logins(url) for name, url in addresses.items()}
        with settings.lock:
            VENDORS.update(hosts)
            settings._current = replace(found, local_models=local_models, _values=with_logins(values))


def _handed(*given: Any) -> Handed:
    handed = Handed.__new__(Handed)
    handed._hold(*given)
    return handed
