"""One answer out of many: who is asked what and when, what came of it, and what is shown without a synthesis."""

import itertools
import re

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.catalogue import listed
from tests.support import standins
from tests.support.scripts import HAIKU, LUNA, OSS, SMALL, SOL, answers, breaks_off, fails

THREE = [LUNA, HAIKU, SMALL]
BLUE = "The molecules of the air scatter blue sunlight far more than red."
RED = "At sunset the light crosses more air, which leaves mainly red tones."
SEA = "The colour of the ocean has nothing to do with the colour above it."
CHEESE = "Everybody knows that the moon consists of excellent green cheese."


def systems(script):
    """The system messages that were sent, in order."""
    return [asked.request.system for asked in script.asked]


@pytest.mark.parametrize("layers", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_number_of_calls_and_what_they_take(n, layers, script, run, question):
    answer = run(moa.mixture_of_agents(question, THREE[:n], SOL, layers=layers))
    assert len(script.asked) == len(answer.replies) == n * (layers - 1) + 1
    assert [len(layer) for layer in answer.layers] == [n] * (layers - 1)
    assert script.times() == pytest.approx(
        [1.2 * stage for stage in range(layers - 1) for _ in range(n)] + [1.2 * (layers - 1)]
    )
    assert (answer.outcome, answer.text) == ("complete", "gpt-6-sol says 0.")
    assert (answer.elapsed, answer.ttft) == (pytest.approx(1.2 * layers), pytest.approx(1.2 * layers - 0.2))
    assert answer.cost_usd == pytest.approx(sum(moa.find(reply.model).cost(100, 20) for reply in answer.replies))
    assert sum(reply.elapsed for reply in answer.critical_path) == pytest.approx(answer.elapsed)
    roles = [f"layer {layer}" for layer in range(1, layers) for _ in range(n)] + ["aggregator"]
    assert [asked.request.role for asked in script.asked] == roles
    assert {asked.request.prompt for asked in script.asked} == {question} == {answer.prompt}


def test_each_layer_reads_the_answers_of_the_layer_before_and_nothing_else(script, run, question):
    script[LUNA] = [answers("Luna at first."), fails(401)]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=4))
    read = [moa.aggregator_system(layer) for layer in answer.layers]
    assert systems(script) == [None] * 3 + [read[0]] * 3 + [read[1]] * 3 + [read[2]]
    assert "Asked: 3. Answered: 3." in read[0]
    assert "Luna at first." in read[0]
    assert "Asked: 3. Answered: 2." in read[1]
    assert "Luna at first." not in read[1], "only the layer just before is read"


def test_what_is_asked_of_each_call(script, run, question):
    run(moa.mixture_of_agents(question, [SMALL, SMALL], OSS, max_tokens=99, temperature=0.25))
    asked = [(a.request.max_tokens, a.request.temperature, a.request.sample) for a in script.asked]
    assert asked == [(99, 0.25, 0), (99, 0.25, 1), (99, 0.25, 0)]


def test_other_models_in_each_layer(script, run, question):
    layers = [[*THREE, LUNA], [HAIKU, SMALL], [SMALL]]
    planned = moa.estimate(question, layers=layers, aggregator=SOL)
    answer = run(moa.mixture_of_agents(question, layers=layers, aggregator=SOL))
    assert [[reply.model for reply in layer] for layer in answer.layers] == layers
    assert len(script.asked) == planned.calls == 8
    assert [calls for calls, _ in planned.stages] == [4, 2, 1, 1]


def test_the_same_models_by_number_or_by_layer(script, run, question):
    run(moa.mixture_of_agents(question, THREE, SOL, layers=3, shuffle_seed=3))
    by_number = [asked.request for asked in script.asked]
    run(moa.mixture_of_agents(question, layers=[THREE, THREE], aggregator=SOL, shuffle_seed=3))
    assert [asked.request for asked in script.asked] == by_number


def test_shuffling_changes_the_order_in_which_answers_are_read(script, run, question):
    orders = set()
    for seed in (None, *range(12)):
        run(moa.mixture_of_agents(question, THREE, SOL, shuffle_seed=seed))
        texts = re.findall(r'number="\d">\n(.*)\n</', systems(script)[-1])
        in_order = [asked.request.model.id + " says 0." for asked in script.asked[:3]]
        assert sorted(texts) == sorted(in_order)
        assert seed is not None or texts == in_order
        orders.add(tuple(texts))
    assert orders == set(itertools.permutations(in_order)), "every order comes up"


NONSENSE = [
    ({}, TypeError, "Give the reference models"),
    ({"layers": [THREE], "reference_models": THREE}, TypeError, "but not in both"),
    ({"layers": []}, ValueError, "layers is empty"),
    ({"layers": [THREE, []]}, ValueError, "list of models is empty"),
    ({"layers": THREE}, TypeError, "Give the models as a list"),
    ({"layers": "openai:x"}, TypeError, "layers must be a whole number"),
    ({"layers": 1, "reference_models": THREE}, ValueError, "layers is 1; it must be at least 2"),
    ({"layers": [THREE, THREE[:1]], "quorum": 2}, ValueError, "only 1 models are asked"),
    ({"layers": [THREE], "aggregator": None}, TypeError, "named by a string .*NoneType"),
    ({"stop_at": 0}, ValueError, "stop_at is 0; it must be above 0"),
    ({"stop_at": -0.5}, ValueError, "stop_at is -0.5; it must be above 0"),
    ({"stop_at": 2}, ValueError, "stop_at is 2; it is a share, at most 1"),
    ({"stop_at": float("nan")}, ValueError, "stop_at is nan"),
    ({"stop_at": "x"}, TypeError, "stop_at must be a number, not 'x'"),
    ({"stop_at": True}, TypeError, "stop_at must be a number, not True"),
    ({"pick": 1}, TypeError, "pick must be True or False, not 1"),
    ({"pick": None}, TypeError, "pick must be True or False, not None"),
    ({"robust": "yes"}, TypeError, "robust must be True or False, not 'yes'"),
    ({"shuffle_seed": 1.5}, TypeError, "shuffle_seed must be a whole number, not 1.5"),
    ({"shuffle_seed": True}, TypeError, "shuffle_seed must be a whole number, not True"),
]


@pytest.mark.parametrize(("arguments", "problem", "words"), NONSENSE)
def test_what_makes_no_sense_is_refused_before_any_call(arguments, problem, words, script, run, question):
    models = {} if {"layers", "reference_models"} & {*arguments} or not arguments else {"reference_models": THREE}
    arguments = {"aggregator": SOL, **models, **arguments}

    async def streamed():
        return [event async for event in moa.stream_mixture(question, **arguments)]

    for call in (moa.mixture_of_agents(question, **arguments), streamed()):
        with pytest.raises(problem, match=words):
            run(call)
    assert not script.asked


OUTCOMES = [
    ({}, {}, "complete", "synthesised from 3 of 3", 4),
    ({SMALL: fails(503)}, {}, "partial", rf"synthesised from 2 of 3; {SMALL} failed \(overloaded\) after 0.00 s", 4),
    (
        {SMALL: fails(503), LUNA: fails(401)},
        {},
        "single",
        r"written from the only answer that came \(1 of 3\), so nothing was compared; .* \(auth.* \(overloaded\).*",
        4,
    ),
    (
        {SMALL: fails(503), HAIKU: fails(401)},
        {"quorum": 2, "layers": 4},
        "below_quorum",
        "no synthesis: 1 of 3 answered, 2 were needed; .*",
        3,
    ),
    (
        {SOL: fails(500)},
        {},
        "aggregator_failed",
        rf"no synthesis: the aggregator failed; the answers of 3 of 3 are in \.layers; {SOL} failed \(server_error\).*",
        4,
    ),
    ({SOL: breaks_off("Half")}, {}, "aggregator_failed", r".*failed \(incomplete\) after 1.00 s", 4),
    (
        dict.fromkeys(THREE, fails(503)),
        {},
        "all_failed",
        "no answer: every reference model of layer 1 failed; .*",
        3,
    ),
    ({SMALL: fails(503)}, {"layers": 3}, "partial", rf"synthesised from 2 of 3; ({SMALL} failed .*){{2}}", 7),
    ({SOL: answers("Half an", finish="length")}, {}, "complete", ".*; the answer is cut off at its token limit", 4),
    ({}, {"reference_models": [LUNA]}, "complete", "synthesised from 1 of 1, so nothing was compared", 2),
]


@pytest.mark.parametrize(("faults", "options", "outcome", "heading", "calls"), OUTCOMES)
def test_outcomes(faults, options, outcome, heading, calls, script, run, question):
    for model, act in faults.items():
        script[model] = act
    options = {"reference_models": THREE, "retries": 0, **options}
    answer = run(moa.mixture_of_agents(question, aggregator=SOL, **options))
    assert answer.outcome == outcome
    assert re.fullmatch(heading, answer.heading)
    assert len(script.asked) == len(answer.replies) == calls
    if outcome in ("complete", "partial", "single"):
        assert answer.text == answer.aggregator.text != ""
        assert answer.substitute is None
    else:
        assert answer.text == ""
        assert (answer.aggregator is None) == (outcome != "aggregator_failed")
        good = answer.layers[0].good
        assert answer.substitute == (good[0] if good else None)


def test_an_earlier_layer_that_was_not_whole_makes_the_mixture_partial(script, run, question):
    script[LUNA] = [fails(401), answers()]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=3))
    assert (answer.outcome, answer.heading) == (
        "partial",
        f"synthesised from 3 of 3; {LUNA} failed (authentication) after 0.00 s",
    )


def test_a_layer_that_fails_leaves_the_substitute_of_the_layer_before(script, run, question):
    for model in THREE:
        script[model] = [answers(), fails(401)]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=4))
    assert (answer.outcome, len(answer.layers), answer.skipped) == ("all_failed", 2, 0)
    assert answer.heading.startswith("no answer: every reference model of layer 2 failed; ")
    assert answer.heading.endswith("; the answers of the layers before are in .layers")
    assert answer.substitute is answer.layers[0][0]


# Robust aggregation


def agree(script, models, liars):
    """The honest say the same in their own order; each liar says something else."""
    for number, model in enumerate(models):
        script[model] = answers(f"{CHEESE} {SEA}" if model in liars else [f"{BLUE} {RED}", f"{RED} {BLUE}"][number % 2])


def test_what_agrees_too_little_is_kept_from_the_aggregator_and_named(script, run, question):
    models = [*THREE, OSS]
    agree(script, models, [HAIKU])
    answer = run(moa.mixture_of_agents(question, models, SOL, robust=True))
    assert answer.left_out == (answer.layers[0][1],)
    assert systems(script)[-1] == moa.aggregator_system([answer.layers[0][place] for place in (0, 2, 3)])
    assert (answer.outcome, len(answer.replies)) == ("partial", 5)
    assert answer.heading == f"synthesised from 3 of 4; {HAIKU} left out, as it agrees too little with the others"
    assert list(answer.table().left_out) == [False, True, False, False, False]
    again = moa.from_json(moa.to_json(answer))
    assert (again, again.left_out, again.heading) == (answer, answer.left_out, answer.heading)


def test_what_an_earlier_layer_left_out_stays_named(script, run, question):
    agree(script, THREE, [])
    script[HAIKU] = [answers(f"{CHEESE} {SEA}"), answers(f"{BLUE} {RED}")]
    answer = run(moa.mixture_of_agents(question, THREE, SOL, layers=3, robust=True))
    assert answer.left_out == (answer.layers[0][1],)
    assert systems(script)[-1] == moa.aggregator_system(answer.layers[1])
    assert (answer.outcome, len(answer.replies)) == ("partial", 7)
    assert answer.heading == f"synthesised from 3 of 3; {HAIKU} left out, as it agrees too little with the others"


def test_robust_is_off_unless_asked_for(script, run, question):
    agree(script, THREE, [HAIKU])
    answer = run(moa.mixture_of_agents(question, THREE, SOL))
    assert (answer.left_out, answer.outcome) == ((), "complete")
    assert CHEESE in systems(script)[-1]


def test_what_was_left_out_is_no_substitute(script, run, question):
    agree(script, [HAIKU, LUNA, SMALL], [HAIKU])
    script[OSS] = fails(401)
    answer = run(moa.mixture_of_agents(question, [HAIKU, LUNA, SMALL], OSS, robust=True))
    assert (answer.outcome, answer.substitute.model) == ("aggregator_failed", LUNA)
    assert "the answers of 3 of 3 are in .layers" in answer.heading
    label = f"No synthesis. This is what {LUNA} answered alone:"
    assert label in str(answer)
    assert label in answer._repr_html_()


def test_robust_lets_fewer_wrong_points_through_over_the_whole_bank(run, script, monkeypatch):
    standins.enter(monkeypatch, script)
    six = [model.name for model in listed().values() if model.vendor.name in ("openai", "anthropic", "mistral")][:6]
    wrong = {True: 0, False: 0}
    with offline.fault(six[4], "liar"), offline.fault(six[5], "liar"):
        for robust, asked in itertools.product(wrong, offline.questions()):
            answer = run(moa.mixture_of_agents(asked.prompt, six, SOL, robust=robust))
            wrong[robust] += offline.score(asked.prompt, answer.text).wrong
    assert 0 <= wrong[True] < wrong[False]
