"""Controls for a mixture in a notebook: choose, run, watch, stop, and compare the runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moa_helpers.limits.conversations import Prompt
from moa_helpers.limits.members import Named

if TYPE_CHECKING:
    from moa_helpers.ui.playground.widget import Playground


def playground(
    prompt: Prompt | None = None,
    reference_models: Sequence[Named] | None = None,
    aggregator: Named | Sequence[Named] | None = None,
    **options: Any,
) -> "Playground":
    """Controls for a mixture in a notebook: choose models, prompt and limits, run, watch, stop, compare the runs.

    A new playground stops what still runs in an older one. It makes no call until Run is pressed.

    Args:
        prompt, reference_models, aggregator: what is chosen at first. Default: a prepared question and a small model of
            each vendor that can be asked now. Of a conversation, the last message can be changed. A list of
            aggregators is one choice among the others.
        options: what is set at first: limits, ``layers``, ``robust``, ``stop_at`` and ``pick``, by the names of
            ``mixture_of_agents``.

    Returns:
        The playground. As the last line of a cell it shows itself; ``await play.run()`` runs it from code, and
        ``play.runs`` keeps the runs.

    Raises:
        TypeError, ValueError: the input is wrong.
        RuntimeError: this is no notebook.
    """
    from moa_helpers.ui.playground.choice import given
    from moa_helpers.ui.playground.widget import Playground  # ipywidgets is not loaded before it is needed

    return Playground(given(prompt, reference_models, aggregator, options), reference_models)
