"""What a client asks, read from OpenAI's and Anthropic's formats; what a mixture cannot do is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moa_helpers.catalogue import rows
from moa_helpers.offline.asked import Refused, check, malformed, parsed, text_of
from moa_helpers.plan import Plan, plan_mixture

WHY = "A mixture answers in plain text, once; leave it out."
SYSTEM, TURNS = ("system", "developer"), ("user", "assistant")  # the roles that are read
PASSED_OVER = ("thinking", "redacted_thinking", "reasoning")  # what an assistant thought in an earlier turn
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MOST_NAMED = 20  # parameters that are named as ignored
_PARAMETERS = rows(Path(__file__).with_name("parameters.csv"))
_READ = {"system", *(row["parameter"] for row in _PARAMETERS)}  # the others change nothing


@dataclass(frozen=True)
class Asked:
    """What a request asks for, in one vocabulary for all formats."""

    model: str
    messages: list[dict[str, str]]  # the whole conversation, at most one system message, which is the first
    limit: int | None  # tokens of the answer
    stream: bool
    with_usage: bool
    ignored: tuple[str, ...]  # the parameters that change nothing

    def planned(self, options: Mapping[str, Any]) -> Plan:
        """The mixture with these arguments for this conversation; the limit holds for the answer alone."""
        try:
            plan = plan_mixture(self.messages, **options)
        except (TypeError, ValueError) as error:
            raise Refused(400, str(error), "messages") from None
        if self.limit is None or plan.pick:  # a ranker writes a number
            return plan
        final = (replace(one, max_tokens=min(one.max_tokens, self.limit)) for one in plan.final)
        return replace(plan, final=tuple(final))


def read(body: bytes, headers: Mapping[str, str], form: str) -> Asked:
    """What a request asks, in a ``form`` of ``formats.PATHS``; ``Refused`` if a mixture cannot do that."""
    asked = parsed(body, headers)
    check(asked, _PARAMETERS, WHY)
    if not asked.get("model"):
        raise malformed("it names no model", "model", "missing_required_parameter")
    given = [name for name, value in asked.items() if name not in _READ and value not in (None, [], {}, "")]
    return Asked(
        model=asked["model"],
        messages=_conversation(asked, form),
        limit=next((asked[name] for name in LIMITS if asked.get(name)), None),
        stream=bool(asked.get("stream")),
        with_usage=bool((asked.get("stream_options") or {}).get("include_usage")),
        ignored=tuple(name[:40] for name in given[:MOST_NAMED]),
    )


def _conversation(asked: Mapping[str, Any], form: str) -> list[dict[str, str]]:
    """The messages; several system messages are joined to one, in front."""
    name = "input" if form == "responses" else "messages"
    listed = asked.get(name) or []
    if isinstance(listed, str):
        listed = [{"role": "user", "content": listed}]
    before = "instructions" if form == "responses" else "system"
    systems = [text_of(asked.get(before), before, PASSED_OVER, WHY)]
    turns = []
    for place, message in enumerate(listed):
        at = f"{name}[{place}]"
        if isinstance(message, dict) and message.get("type") in PASSED_OVER:
            continue
        role = message.get("role") if isinstance(message, dict) else None
        if role not in (*SYSTEM, *TURNS):
            raise malformed(f"{at} must be a message with one of the roles {', '.join((*SYSTEM, *TURNS))}", at)
        if message.get("tool_calls") or message.get("function_call"):
            raise Refused(400, f"{at} calls a tool. {WHY}", at, "unsupported_value")
        text = text_of(message.get("content"), f"{at}.content", PASSED_OVER, WHY)
        if role in SYSTEM:
            systems.append(text)
        else:
            turns.append({"role": role, "content": text})
    if not turns:
        raise malformed("there is no user message", name)
    system = "\n\n".join(filter(str.strip, systems))
    return [{"role": "system", "content": system}, *turns] if system else turns
