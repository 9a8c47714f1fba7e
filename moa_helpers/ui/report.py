"""The report of ``setup()``: which vendors have a key, which real models run here, and what calls cost."""

from collections.abc import Sequence

from moa_helpers.catalogue import VENDORS, Vendor
from moa_helpers.catalogue.hosts import without_login
from moa_helpers.ui.cards import Card, card
from moa_helpers.vendors.local import Server, place_of
from moa_helpers.vendors.settings import Settings
from moa_helpers.vendors.transport import loopback

MOST_NAMES = 12  # of models in a row


@card.register
def _(settings: Settings) -> Card:
    rows = [(vendor.name, _access(vendor, settings)) for vendor in VENDORS.values() if vendor.name != "local"]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in settings.versions.items())))
    rows += [_served(server) for server in settings.servers]
    if settings.colab_models:
        rows.append(("free on Colab", _listed(settings.colab_models)))
    notes = [_what_to_do(settings), *settings.notes]
    if settings.keep:
        notes.append(f"Answers are kept in {settings.keep}: no question is asked, or paid for, a second time.")
    who = "Stand-ins answer, written for this lesson." if settings.mode == "offline" else _what_it_costs(settings)
    heading = f"Mode: {settings.mode.upper()}, because {settings.reason}. {who}"
    return Card(heading, ("vendor", "found"), rows, notes=notes, folded="Keys, model servers and versions")


def _what_to_do(settings: Settings) -> str:
    """How the mode is changed, and how a model that is free is asked."""
    free = next(iter(settings.local_models or settings.colab_models), "")
    write = f"write {free!r} into the list of models"
    if settings.mode == "live":
        keys = ", ".join(f"{vendor} ({place})" for vendor, place in settings.key_sources.items())
        found = f"Keys: {keys or 'none'}. " + f"For a free model, {write}. " * bool(free)
        return f"{found}For the stand-ins, run moa.setup('offline')."
    if free or settings.key_sources:
        return "For real models, run moa.setup('live')" + f" and {write}." * bool(free) + "." * (not free)
    return "For real models, write a key into a file .env (on Colab: into its secrets) and run this cell again."


def _what_it_costs(settings: Settings) -> str:
    asked = [settings.address(vendor) for vendor in VENDORS.values() if settings.key_sources.get(vendor.name)]
    paid = any(not loopback(url) or place_of(url) in settings.gateways for url in asked)
    if not settings.free_models:
        return "Calls go to the vendors and cost money."
    where = "this machine" if len(settings.free_models) > len(settings.colab_models) else "Colab's models"
    if not paid:
        return f"Calls go to {where} and are free."
    return f"Calls go to the vendors and cost money, but those to {where} are free."


def _served(server: Server) -> tuple[str, str]:
    """A row about a model server: its software, its place and its models, how many at a time and how long."""
    sizes = {*server.contexts.values()}
    size = f"{sizes.pop():,} tokens" if len(sizes) == 1 else ""  # of all models
    own = {} if size else {name: f" (context of {tokens:,} tokens)" for name, tokens in server.contexts.items()}
    names = _listed([f"local:{name}{own.get(name, '')}" for name in server.models])
    software = server.software if server.certain else f"probably {server.software}"
    parts = [f"{software} at {server.place}: {names or 'no model yet'}"]
    if server.slots:
        slots = f"{server.slots} slot{'s' * (server.slots != 1)}" + (f" of {size}" if size else "")
        parts.append(f"{slots}: more calls than slots wait for one another")
    elif size:
        parts.append(f"a context of {size}, prompt and answer together")
    found = "; ".join(filter(None, [*parts, server.remark]))
    return ("runs here, free" if loopback(server.url) else "model server", found)


def _listed(names: Sequence[str]) -> str:
    """The names, but of very many the first."""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _access(vendor: Vendor, settings: Settings) -> str:
    key = vendor.key_variable
    if vendor.api == "colab":
        return "no key needed; on Google Colab only"
    if key is None:
        said = "no key needed"
    elif vendor.name in settings.key_sources:
        said = f"key from {settings.key_sources[vendor.name]}"
    else:
        said = f"key in {key}" if settings.value(key) else f"no key ({key})"
    if vendor.origin:
        return f"{said}; {without_login(vendor.base_url)}, from {vendor.origin}"
    return said if key else f"{said}; address from {vendor.url_variable}"
