"""Scores through the wire: what a comparison concludes follows from what the stand-ins know, and what is paid for."""

import moa_helpers as moa
from moa_helpers import offline

CHECKABLE = offline.questions(checkable=True)[:12]


def test_a_verdict_flips_when_the_knowledge_is_flipped(run, models, vendors):
    one, other, _ = models
    for knows, verdict in (({one: 0.0, other: 1.0}, "above"), ({one: 1.0, other: 0.0}, "below")):
        with offline.knowledge(recall=knows):
            found = run(moa.compare(CHECKABLE, {"one": one, "other": other}, score=moa.scores.exact))
        change = moa.measures.rate_difference(found.values("other", "score"), found.values("one", "score"))
        assert change.says() == verdict
        assert found.table().mcnemar_p["other"] < 0.05
        assert found.table().score_difference["other"] == change.value
    assert vendors.asked.total() == 2 * 2 * 12


def test_a_panel_that_is_shared_is_paid_for_once_and_scored_again_for_nothing(run, models, vendors):
    mixture = {"reference_models": models, "aggregator": models[0]}
    strategies = {"writes": mixture, "picks": mixture | {"pick": True}, "other": mixture | {"aggregator": models[1]}}
    options = {"share_panel": True, "score": moa.scores.exact}
    found = run(moa.compare(CHECKABLE[:4], strategies, **options))
    assert vendors.asked.total() == 4 * (3 + 3)
    again = run(moa.compare(CHECKABLE[:4], strategies, **options | {"score": moa.scores.contains}))
    assert vendors.asked.total() == 4 * (3 + 3)
    assert again.answers == found.answers
