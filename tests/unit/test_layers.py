"""Layers that stop once two agree, and an aggregator that picks instead of writing."""

import random
import re
from itertools import pairwise

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.steps.agreement import between
from tests.support.events import check_events, collect
from tests.support.hostile import read_fences
from tests.support.scripts import HAIKU, LUNA, SMALL, SOL, answers, fails

THREE = [LUNA, HAIKU, SMALL]


def sentence(number):
    """A sentence that shares no word with any other of them."""
    return " ".join(f"{letter * 3}{number:03}" for letter in "abcdef") + "."


def says(*numbers):
    """An answer of these sentences."""
    return answers(" ".join(sentence(number) for number in numbers), per_piece=0)


# Stopping early


def test_no_further_layer_once_two_agree(script, run, question):
    script[LUNA], script[HAIKU], script[SMALL] = [says(1, 2), says(2, 3)], [says(3), says(1)], [says(4), says(4)]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=5, stop_at=1))
    assert (len(answer.layers), answer.skipped, answer.outcome) == (2, 2, "complete")
    assert len(script.asked) == len(answer.replies) == 7
    assert answer.heading == "synthesised from 3 of 3; 2 layers left out, as the last two agreed"
    assert script.asked[-1].request.system == moa.aggregator_system(answer.layers[1])
    assert answer.elapsed == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("shared", "stop_at", "made"),
    [([8, 9], 0.9, 3), ([10], 1, 2), ([0, 9], 1.0, 4), ([5], 0.5, 2), ([4, 4], 0.5, 4), ([0, 0, 10], 1, 4)],
)
def test_the_share_from_which_it_stops(shared, stop_at, made, script, run, question):
    """Ten sentences a layer, of which so many stand in the layer before."""
    layers, new = [list(range(10))], 10
    for common in [*shared, 0, 0, 0]:
        layers.append([*layers[-1][:common], *range(new, new + 10 - common)])
        new += 10
    script[LUNA] = [says(*numbers) for numbers in layers]
    answer = run(moa.mixture_of_agents(question, [LUNA], SOL, layers=5, stop_at=stop_at))
    assert (len(answer.layers), answer.skipped) == (made, 4 - made)
    texts = [[reply.text for reply in layer] for layer in answer.layers]
    assert [between(*pair) for pair in pairwise(texts)] == [common / 10 for common in [*shared, 0][: made - 1]]
    assert ("; 1 layer left out, as the last two agreed" in answer.heading) == (answer.skipped == 1)


def test_without_stop_at_all_layers_are_made(script, run, question):
    script[LUNA] = says(1)
    answer = run(moa.mixture_of_agents(question, [LUNA], SOL, layers=5))
    assert (len(answer.layers), answer.skipped) == (4, 0)


def test_one_layer_has_nothing_to_agree_with(script, run, question):
    answer = run(moa.mixture_of_agents(question, [LUNA, LUNA], SOL, stop_at=0.1))
    assert (len(answer.layers), answer.skipped, answer.heading) == (1, 0, "synthesised from 2 of 2")


def test_a_layer_that_is_not_made_is_not_called_left_out_where_one_failed(script, run, question):
    script.default = fails(401)
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=4, stop_at=0.9))
    assert (answer.outcome, answer.skipped, len(answer.layers)) == ("all_failed", 0, 1)
    assert "left out" not in answer.heading


def test_layers_that_agree_below_a_quorum_are_not_enough(script, run, question):
    script[LUNA], script[HAIKU], script[SMALL] = says(1), [says(1), fails(401)], [says(1), fails(401)]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=4, stop_at=0.9, quorum=2))
    assert (answer.outcome, answer.skipped, len(script.asked)) == ("below_quorum", 0, 6)


BLUE = "The molecules of the air scatter blue sunlight far more than red."
RED = "At sunset the light crosses more air, which leaves mainly red tones."
SEA = "The colour of the ocean has nothing to do with the colour above it."


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ([], [], 0),
        ([BLUE], [], 0),
        ([""], [""], 0),
        ([BLUE], [BLUE], 1),
        ([BLUE, RED], [f"{RED} {BLUE}"], 1),
        ([BLUE], [RED], 0),
        ([BLUE, BLUE], [RED], 0),
        ([BLUE], [f"{BLUE} {RED}"], 2 / 3),
        ([f"{BLUE} {RED}"], [f"{RED} {SEA}"], 1 / 2),
        (["The molecules of air scatter the blue sunlight."], [BLUE], 1),
    ],
)
def test_how_much_two_layers_agree(before, after, share):
    assert between(before, after) == pytest.approx(share)
    assert between(after, before) == pytest.approx(share)


def test_agreement_is_a_share_whatever_the_order_and_whoever_says_it():
    for seed in range(50):
        dice = random.Random(seed)
        said = [text for point in offline.questions()[seed % 10].points for text in point.wordings]
        before, after = (
            [" ".join(dice.sample(said, dice.randrange(1, 6))) for _ in range(dice.randrange(1, 4))] for _ in range(2)
        )
        share = between(before, after)
        assert 0 <= share <= 1, seed
        assert between(after, before) == share, seed
        assert between(dice.sample(before, len(before)), dice.sample(after, len(after))) == share, seed
        assert between(before, before) == 1, seed


# A ranker

NAMED = [
    ("2", 2),
    ("Answer 2.", 2),
    ("**2**", 2),
    ("2, and once more: 2", 2),
    ("02", 2),
    ("1 or 2", None),
    ("2. It names 3 things.", 2),
    ("Answer: 2\n\nReason: 2 has fewer errors (0 against 1).", 2),
    ("<think>1 or 2?</think>\n2", 2),
    ("**Answer 2** covers all 5 points", None),
    ("None of them is good.", None),
    ("…", None),
    ("4", None),
    ("0", None),
    ("3", 3),
    ("-1", 1),  # a hyphen, as in a list
    ("99999999999999999999", None),
]


@pytest.mark.parametrize(("text", "number"), NAMED)
def test_the_number_that_a_ranker_names(text, number, script, run, question):
    script[SOL] = answers(text)
    events, answer = run(collect(question, THREE, SOL, pick=True))
    check_events(events, answer)
    assert answer.aggregator.text == re.sub(r"(?s)<think>.*</think>\s*", "", text), "what it said is kept"
    picked = None if number is None else answer.layers[0][number - 1]
    assert answer.picked == picked
    if picked:
        assert (answer.outcome, answer.text, answer.substitute) == ("complete", picked.text, None)
        assert answer.heading == f"{picked.model} picked out of 3 of 3"
    else:
        assert (answer.outcome, answer.text, answer.substitute) == ("aggregator_failed", "", answer.layers[0][0])
        assert answer.heading.endswith(f"; {SOL} was to name the best by its number, and did not")
        assert not any(isinstance(event, moa.AggregatorDelta) for event in events)
    assert moa.from_json(moa.to_json(answer)) == answer


def test_a_ranker_is_asked_once_and_told_to_choose(script, run, question):
    script[SOL] = answers("1")
    answer = run(moa.mixture_of_agents(question, THREE, SOL, pick=True, layers=3))
    assert len(script.asked) == len(answer.replies) == 7
    request = script.asked[-1].request
    assert request.system == moa.ranker_system([reply.text for reply in answer.layers[1]])
    assert (request.prompt, request.role) == (question, "aggregator")
    assert script.asked[3].request.system == moa.aggregator_system(answer.layers[0]), "a layer before it synthesises"


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_number_counts_in_the_order_that_the_ranker_saw(number, seed, script, run, question):
    script[SOL] = answers(str(number))
    answer = run(moa.mixture_of_agents(question, THREE, SOL, pick=True, shuffle_seed=seed))
    seen = read_fences(script.asked[-1].request.system)[1]
    assert answer.picked.text == seen[number - 1]
    shuffled = read_fences(moa.aggregator_system(answer.layers[0], shuffle_seed=seed))[1]
    assert seen == shuffled, "in the order in which an aggregator would have read them"


def test_a_ranker_sees_no_failed_answer_and_none_that_is_left_out(script, run, question):
    script[LUNA], script[SOL] = fails(401), answers("2")
    answer = run(moa.mixture_of_agents(question, THREE, SOL, pick=True))
    assert (answer.outcome, answer.picked) == ("partial", answer.layers[0][2])
    assert answer.heading.startswith(f"{SMALL} picked out of 2 of 3; ")
    script[LUNA], script[HAIKU], script[SMALL], script[SOL] = says(7, 8), says(1, 2), says(2, 1), answers("1")
    answer = run(moa.mixture_of_agents(question, THREE, SOL, pick=True, robust=True))
    assert (answer.left_out, answer.picked) == ((answer.layers[0][0],), answer.layers[0][1])
    again = moa.from_json(moa.to_json(answer))
    assert (again, again.heading, str(again)) == (answer, answer.heading, str(answer))


def test_where_there_is_one_answer_there_is_nothing_to_choose_from(script, run, question):
    script[LUNA], script[HAIKU] = fails(401), fails(401)
    events, answer = run(collect(question, THREE, SOL, pick=True))
    check_events(events, answer)
    assert (script.counts()[SOL], answer.aggregator, answer.picked) == (0, None, answer.layers[0][2])
    assert (answer.outcome, answer.text) == ("single", answer.picked.text)


def test_a_ranker_that_fails(script, run, question):
    script[SOL] = fails(500)
    answer = run(moa.mixture_of_agents(question, THREE, SOL, pick=True, retries=0))
    assert (answer.outcome, answer.picked, answer.text) == ("aggregator_failed", None, "")
    assert "was to name" not in answer.heading
    assert "the answers of 3 of 3 are in .layers" in answer.heading


def test_skipped_layers_come_back_from_json(script, run, question):
    script[LUNA] = says(1)
    answer = run(moa.mixture_of_agents(question, [LUNA, LUNA], SOL, layers=4, stop_at=0.9, pick=True))
    assert (answer.outcome, answer.skipped) == ("aggregator_failed", 0), "it says no number"
    script[SOL] = answers("2")
    answer = run(moa.mixture_of_agents(question, [LUNA, LUNA], SOL, layers=4, stop_at=0.9, pick=True))
    again = moa.from_json(moa.to_json(answer))
    assert (again, again.skipped, again.picked, again.heading) == (answer, 1, answer.layers[1][1], answer.heading)
