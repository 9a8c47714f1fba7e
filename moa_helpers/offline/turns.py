"""How often something was asked, and the dice of each turn: for the same seed the same, in whatever order they come."""

import hashlib
import random
from collections import OrderedDict

KEPT = 200_000  # the latest prompts (notebook 5 draws for 60,000); of one that was forgotten, the count begins anew
LONG = 10_000  # characters; a longer text is told apart by its hash


class Turns:
    """Counts how often each model was asked each prompt; it keeps hashes, and no more than the latest ``KEPT``."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def next(self, model_name: str, prompt: str) -> int:
        """How often that was asked before; counts it."""
        key = hashlib.blake2b(f"{model_name}\0{prompt}".encode(), digest_size=16).digest()
        number = self._counts.pop(key, 0)
        self._counts[key] = number + 1
        if len(self._counts) > KEPT:
            self._counts.popitem(last=False)
        return number


def dice(*parts: object, prompt: str) -> random.Random:
    """The dice of one turn: always the same for the same parts and prompt."""
    if len(prompt) > LONG:
        prompt = hashlib.sha256(prompt.encode()).hexdigest()
    return random.Random("/".join(map(str, [*parts, prompt])))
