"""What a listener makes of a mixture's events, and whether they say the same as its answer."""

from collections import defaultdict
from itertools import pairwise

import moa_helpers as moa


async def collect(*arguments, **options):
    """All events of a mixture, and its answer."""
    events = [event async for event in moa.stream_mixture(*arguments, **options)]
    return events, events[-1].answer


def texts_heard(events):
    """What was read of each call that ended well, by layer and place; and what the call gave."""
    texts, replies = defaultdict(str), {}
    for event in events:
        place = (getattr(event, "layer", None), getattr(event, "index", None))
        if isinstance(event, moa.Retrying):
            texts[place] = ""
        elif isinstance(event, moa.ProposerDelta):
            texts[place] += event.text
        elif isinstance(event, moa.ProposerDone) and event.reply.ok:
            replies[place] = event.reply.text
    return {place: texts[place] for place in replies}, replies


def check_events(events, answer):
    """Events come in order, each call's after one another, and say the same as the answer."""
    assert [type(event) for event in events].index(moa.MixtureDone) == len(events) - 1
    assert events[-1].answer == answer
    layers = [event.layer if hasattr(event, "layer") else len(answer.layers) + 1 for event in events]
    assert all(before <= after for before, after in pairwise(layers)), "a layer began before the one above had ended"
    for number, layer in enumerate(answer.layers, 1):
        for index, reply in enumerate(layer):
            mine = [event for event in events if _place(event) == (number, index)]
            assert [isinstance(event, moa.ProposerDone) for event in mine] == [False] * (len(mine) - 1) + [True]
            assert mine[-1].reply == reply
            if not reply.ok and (reply.hedged or _last_void(mine)):
                continue  # no text counts: there were two, or the retry that made it void was never sent
            last = mine[_last_void(mine) : -1]
            assert "".join(event.text for event in last if isinstance(event, moa.ProposerDelta)) == reply.text
            writers = {event.model for event in last if isinstance(event, moa.ProposerDelta)}
            assert writers <= {reply.written_by}
    written = [event for event in events[_last_void(events) :] if isinstance(event, moa.AggregatorDelta)]
    if answer.text:
        assert "".join(event.text for event in written) == answer.text


def _last_void(events):
    """Where the text begins that counts."""
    return 1 + max((place for place, event in enumerate(events) if isinstance(event, moa.Retrying)), default=-1)


def _place(event):
    return getattr(event, "layer", None), getattr(event, "index", None)
