"""What is chosen in the playground, as a plain value: the arguments that it gives, their price, and their code."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moa_helpers import catalogue, offline
from moa_helpers.limits.checks import check_number
from moa_helpers.limits.conversations import Prompt, read_prompt
from moa_helpers.limits.members import Member, Named, in_turn
from moa_helpers.limits.purse import Estimate
from moa_helpers.limits.values import Limits
from moa_helpers.plan import plan_fan_out, plan_mixture
from moa_helpers.vendors import colab
from moa_helpers.vendors.requests import Turn
from moa_helpers.vendors.settings import Settings, current

NO_AGGREGATOR = "none: only the reference models"
ANY = "openai:any"  # stands for a model where any will do
MOST = {"samples": 6, "layers": 6}
HINTS = json.loads(Path(__file__).with_name("hints.json").read_text("utf-8"))
LIMITS: dict[str, list[str]] = HINTS["limits"]  # the optional arguments -> label, what an empty field means, tooltip
SWITCHES: dict[str, list[str]] = HINTS["switches"]  # those that are on or off -> label
OF_MIXTURES = {"layers", "stop_at", *SWITCHES}  # of no use without an aggregator
_NAME = re.compile(r"[\w.:/@+ -]+")  # names that can be listed: ipywidgets 7 takes a label for HTML
_SIGNS = "<>&$\\"  # not shown of a member's role, for the same reason, and because of MathJax


@dataclass(frozen=True)
class Choice:
    """What the controls say, in the words of their labels. Each of ``models`` is asked ``samples`` times.

    ``options`` has what the fields and switches say, by the names of ``mixture_of_agents``. ``meant`` has what labels
    stand for that are no names: members, and lists of aggregators. ``before`` are the messages before the prompt.
    """

    prompt: str = ""
    models: tuple[str, ...] = ()
    samples: int = 1
    aggregator: str = ""
    layers: int = 2
    options: Mapping[str, str | bool] = field(default_factory=dict)
    meant: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Turn, ...] = ()

    @property
    def listed(self) -> list[Named]:
        """The models, as often as they are asked."""
        return [self.meant.get(name, name) for name in self.models] * self.samples

    @property
    def alone(self) -> bool:
        """Whether the models are asked without an aggregator."""
        return self.aggregator == NO_AGGREGATOR

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of ``mixture_of_agents``, or of ``fan_out`` without an aggregator; no default is among them."""
        if not self.models:
            raise ValueError("No reference model is ticked: tick at least one.")
        turns = [{"role": turn.role, "content": turn.text} for turn in (*self.before, Turn("user", self.prompt))]
        chosen: dict[str, Any] = {"prompt": turns if self.before else self.prompt, "reference_models": self.listed}
        if not self.alone:
            last = self.meant.get(self.aggregator, self.aggregator)
            chosen |= {"aggregator": last} | ({"layers": self.layers} if self.layers != 2 else {})
        for name in (*SWITCHES, *LIMITS):
            value = self.options.get(name, "")
            value = value.strip() if isinstance(value, str) else value
            if value and not (self.alone and name in OF_MIXTURES):
                chosen[name] = value if value is True else self.meant.get(str(value)) or _read(name, value)
        return chosen


def given(
    prompt: Prompt | None,
    reference_models: Sequence[Named] | None,
    aggregator: Named | Sequence[Named] | None,
    options: Mapping[str, Any],
) -> Choice:
    """The choice that the arguments of ``moa.playground`` ask for; what they leave out is empty in it."""
    if unknown := sorted(options.keys() - {*LIMITS, *OF_MIXTURES}):
        known = ", ".join(["layers", *SWITCHES, *LIMITS])
        raise TypeError(f"playground() takes no {', '.join(unknown)}; it takes {known}.")
    last, second = (None if each is None else in_turn(each) for each in (aggregator, options.get("hedge_with")))
    names = []
    for some in (reference_models, last, second):
        if some is not None:
            priced({"prompt": "?", "reference_models": some})
            names += [Member.of(each).name for each in some]
    for name in names:
        obstacle(name)
    Limits.of({name: value for name, value in options.items() if name in Limits.__dataclass_fields__})
    layers = options.get("layers", 2)
    check_number("layers", layers, least=2, whole=True)
    if layers > MOST["layers"]:
        raise ValueError(f"layers is {layers}; the playground goes up to {MOST['layers']}.")
    mixture = {"prompt": "?" if prompt is None else prompt, "reference_models": [ANY], "aggregator": ANY}
    priced(mixture | {name: options[name] for name in (*OF_MIXTURES, "max_tokens") if name in options})
    meant: dict[str, Any] = {}
    often = Counter(_label(each, meant) for each in reference_models or ())
    samples = min(max(often.values(), default=1), MOST["samples"])
    written = {name: _written(value) for name, value in options.items() if name != "layers" and value is not None}
    written |= {"hedge_with": _label(second[0], meant)} if second else {}
    chain = _label(last[0] if len(last) == 1 else [*last], meant) if last else ""
    first, before, text = (None, (), "") if prompt is None else read_prompt(prompt)
    turns = ([Turn("system", first)] if first else []) + [*before]
    return Choice(text, tuple(often), samples, chain, layers, written, meant, tuple(turns))


def _label(chosen: Named | list[Named], meant: dict[str, Any]) -> str:
    """How a model, a member or a list of aggregators is called; ``meant`` learns what that stands for."""
    if isinstance(chosen, str):
        return chosen
    text = ", else ".join(map(str, in_turn(chosen)))
    text = label = "".join(sign if sign.isprintable() and sign not in _SIGNS else "·" for sign in text)
    number = 1
    while meant.get(label, chosen) != chosen:  # another role that begins with the same words
        label = f"{text} #{(number := number + 1)}"
    meant[label] = chosen
    return label


def obstacle(name: str) -> str:
    """Why a model that is typed cannot be asked now, or ""; a ValueError says what is wrong with its name."""
    model = catalogue.find(name)
    if not _NAME.fullmatch(model.name):
        raise ValueError(f"{name!r} cannot be in the list: write 'vendor:model-id', without spaces and signs.")
    return _obstacle(model, current())


def in_labels(text: str) -> str:
    """What is wrong with an argument, in the words of the labels."""
    return re.sub(rf"\b({'|'.join(LIMITS)})\b", lambda found: LIMITS[found[0]][0], text)


def completed(asked: Choice, settings: Settings) -> tuple[Choice, dict[str, str]]:
    """A choice with nothing left out, and all models, each with why it cannot be asked now, or "".

    An aggregator that cannot be asked is replaced by the first chosen model that can.
    """
    hosts = (f"{vendor.name}:{model}" for vendor in catalogue.VENDORS.values() for model in vendor.prices)
    found = filter(_NAME.fullmatch, (*settings.local_models, *settings.colab_models, *hosts))
    names = [*catalogue.listed(), *found, *asked.models, *([] if asked.alone else [asked.aggregator])]
    members = {name: map(Member.of, in_turn(asked.meant.get(name, name))) for name in names if name}
    models = {name: [catalogue.find(member.name) for member in some] for name, some in members.items()}
    obstacles = {name: max(_obstacle(model, settings) for model in some) for name, some in models.items()}
    can = [name for name, why in obstacles.items() if not why]
    small = {models[name][0].vendor.name: name for name in reversed(can) if models[name][0].tier == "small"}
    chosen = [*asked.models] or list(reversed(small.values())) or can[:3]
    last = () if asked.alone else (asked.aggregator, *chosen)
    aggregator = next((name for name in last if name in can), NO_AGGREGATOR)
    prompt = asked.prompt or offline.questions()[0].prompt
    return replace(asked, prompt=prompt, models=tuple(chosen), aggregator=aggregator), obstacles


def priced(arguments: Mapping[str, Any]) -> Estimate:
    """What a run of these arguments will cost, or the error of what does not take them. It makes no call."""
    if arguments.get("aggregator") is not None:
        return plan_mixture(**arguments).estimate
    rest = dict(arguments)
    return plan_fan_out(rest.pop("reference_models"), **rest).estimate


def code_for(arguments: Mapping[str, Any], samples: int) -> str:
    """The call with these arguments, as Python; the list of models is written once, times ``samples``."""

    def literal(value: Any) -> str:  # JSON is Python, once what ends a line, or is half a character, is escaped
        if isinstance(value, list):
            return f"[{', '.join(map(literal, value))}]"
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | dict) else repr(value)
        return re.sub(r"[\x85\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)

    def in_lines(values: Sequence[Any]) -> str:
        return "    [\n" + "".join(f"        {literal(value)},\n" for value in values) + "    ]"

    models, asked = arguments["reference_models"], arguments["prompt"]
    listed = in_lines(models[: len(models) // samples]) + f" * {samples}" * (samples > 1)
    prompt = f"    {literal(asked)}" if isinstance(asked, str) else in_lines(asked)
    name, function = ("answer", "mixture_of_agents") if "aggregator" in arguments else ("replies", "fan_out")
    first = [prompt, listed] if name == "answer" else [listed, prompt]
    rest = [f"    {k}={literal(v)}" for k, v in arguments.items() if k not in ("prompt", "reference_models")]
    return f"{name} = await moa.{function}(\n" + "".join(f"{line},\n" for line in first + rest) + f")\n{name}"


def _obstacle(model: catalogue.Model, settings: Settings) -> str:
    if model.is_shut_down:
        return f"shut down on {model.shutdown_date}"
    if settings.mode == "offline":
        if model.name in settings.free_models:
            return "real and free: after moa.setup('live')"
        return "real: after moa.setup('live')" if model.name in settings.local_models else ""
    if model.vendor.api == "colab" and colab.ai() is None:
        return "only on Google Colab"
    if model.vendor.name == "local" and model.name not in settings.local_models:
        return "no server on this machine lists it"
    key = model.vendor.key_variable
    return f"no key: set {key}" if key and not settings.value(key) else ""


def _written(value: Any) -> str | bool:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={most}" for name, most in value.items())
    return value if isinstance(value, bool) else str(value)


def _read(name: str, text: str) -> Any:
    if name == "hedge_with":
        return text
    if "=" in text:
        pairs = [part.partition("=") for part in text.split(",")]
        return {vendor.strip(): _number(name, number) for vendor, _, number in pairs}
    return _number(name, text)


def _number(name: str, text: str) -> int | float:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    either = ", or one for each vendor as in mistral=2, all=8" * (name == "max_concurrency")
    raise ValueError(f"{name} is {text.strip()!r}: write a number{either}, or leave the field empty.")
