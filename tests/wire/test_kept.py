"""What was answered live is not asked, or paid for, a second time: counted at the vendors' end."""

import shutil
from pathlib import Path

import pytest

import moa_helpers as moa

FILE, SHARED = Path("answers.sqlite"), Path("shared.sqlite")
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "Why so?"},
]


@pytest.mark.usefixtures("live")
def test_the_second_time_no_vendor_is_asked(run, models, question, recorder):
    async def lesson(path):
        with moa.keep(path) as store:
            asked = [
                await moa.ask(moa.Member(models[0], system="Doubt it.", extra={"top_p": 0.5}), question),
                *await moa.fan_out([*models, models[0]], TALK),
                await moa.mixture_of_agents(TALK, models, [models[1], models[2]]),
            ]
            return asked, store.spent_since(0)

    first, spent = run(lesson(FILE))
    made = len(recorder.requests)
    assert made == 1 + 4 + 1, "the layer of the mixture is the fan-out again"
    shutil.copyfile(FILE, SHARED)  # a recorded run, as it is passed on
    for path in (FILE, SHARED):
        again, spent_in_all = run(lesson(path))
        assert len(recorder.requests) == made
        assert [each.text for each in again] == [each.text for each in first]
        assert ({each.cost_usd for each in again}, spent_in_all) == ({0.0}, spent)
    assert spent == pytest.approx(sum(each.cost_usd for each in first))
    assert all(key not in FILE.read_bytes() for key in (b"dummy", b"Bearer"))
    moa.setup("offline")
    assert not any(reply.kept for reply in run(lesson(FILE))[0][:5]), "what is live answers nothing offline"
