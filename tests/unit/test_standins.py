"""What the stand-ins say: repeatable and honest answers, and a merge that depends on what it is given."""

import math

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import bank, standins
from tests.support.scripts import HAIKU, LUNA, SMALL

QUESTIONS = offline.questions()
CHECKABLE = offline.questions(checkable=True)
FIRST = QUESTIONS[0].prompt
MODELS = [LUNA, HAIKU, SMALL]  # one of each voice, and all of the same tier


def says(model, prompt, system="", **options):
    return standins.answer(moa.find(model), system, prompt, **options)


# The bank


def test_the_bank_has_questions_of_different_kinds():
    assert len(QUESTIONS) >= 8
    assert len({question.kind for question in QUESTIONS}) >= 6
    assert QUESTIONS[0].prompt == "What are three fun things to do in San Francisco?"
    assert len({question.prompt for question in QUESTIONS}) == len(QUESTIONS)


def test_rules_of_the_bank():
    for prepared in (*QUESTIONS, *CHECKABLE):
        points = {point.id: point for point in prepared.points}
        assert len(points) == len(prepared.points)
        wordings = [wording for point in prepared.points for wording in point.wordings]
        assert len(set(wordings)) == len(wordings)
        for point in prepared.points:
            assert len(point.wordings) == 3
            for wording in point.wordings:
                assert wording == " ".join(wording.split())
                within = [other for other in wordings if wording in other]
                assert within == [wording], "a text with one would make two points"
            if point.true:
                assert point.contradicts is None
            else:
                assert points[point.contradicts].true
        assert any(not point.true for point in prepared.points)
        topics = {point.topic for point in prepared.points if point.true}
        assert prepared.pick is None or prepared.pick <= len(topics)


def test_what_can_be_checked_has_one_right_answer():
    assert {question.kind for question in CHECKABLE} == {"number", "date", "choice", "spelling", "logic"}
    assert len({question.id for question in (*QUESTIONS, *CHECKABLE)}) == 50
    for question in CHECKABLE:
        right, *wrong = question.points
        assert (right.true, [point.true for point in wrong]) == (True, [False, False])
        assert all(question.reference in wording for wording in right.wordings)
        assert offline.score(question.prompt, right.wordings[0]) == offline.Score(1, 0, 1)
        assert offline.score(question.prompt, wrong[1].wordings[2]) == offline.Score(0, 1, 1)
        for asked in (
            f"Say why. {question.prompt}",
            f"{question.prompt.upper()}\n\nThink first.",
            question.prompt + " (variant 7)",
        ):
            assert bank.match(asked).id == question.id
        assert bank.match(f"Translate {question.prompt} into French") is None
        assert bank.match("", right.wordings[1]).id == question.id
    assert offline.questions(3, checkable=True)[-1].prompt == CHECKABLE[-1].prompt + " (variant 3)"


# What the stand-ins say


def right_of(model, questions=CHECKABLE, said=says, **options):
    return [offline.score(q.prompt, said(model, q.prompt, **options)).covered for q in questions]


def test_a_question_that_can_be_checked_is_answered_by_what_a_stand_in_knows():
    many = offline.questions(10, checkable=True)
    share = sum(right_of(LUNA, many)) / len(many)
    assert share == pytest.approx(0.55 * 0.85, abs=0.06), "what its tier knows, but for slips"
    assert right_of(LUNA, sample=1) != right_of(LUNA) != right_of(HAIKU)
    assert right_of(LUNA, lie=True) == [0] * 40
    with offline.knowledge(recall={LUNA: 1.0, HAIKU: 0.0}, said=1.0):
        assert (right_of(LUNA), right_of(HAIKU)) == ([1] * 40, [0] * 40)


def test_a_ranker_knows_no_more_than_it_would_answer_unless_it_is_told():
    chosen = {True: 0, False: 0}
    with offline.judging(points=50, position=0, length=0, family=0):
        for question in CHECKABLE:
            right, wrong = (point.wordings[0] for point in question.points[:2])
            for known in (None, question.reference):
                said = says(LUNA, question.prompt, moa.ranker_system([wrong, right], known=known))
                chosen[known is not None] += said == "2"
            silent = says(LUNA, question.prompt, moa.ranker_system(["Thank you for asking.", wrong]))
            assert silent == "2", "to say nothing is worse than to be wrong"
    own = right_of(LUNA)
    with offline.knowledge(said=1.0):
        assert chosen[True] == 40
        assert sum(own) <= chosen[False] < 40, "it takes what it would say itself, and guesses where that is not there"


def test_of_answers_to_it_the_one_said_most_often_is_taken():
    for question in CHECKABLE:
        right, one, other = (point.wordings for point in question.points)
        for texts, covered in (
            ([one[0], right[1], right[2]], 1),
            ([right[0], one[1], one[2]], 0),
            ([right[0], one[1], other[2]], 1),  # first said
            ([other[0], right[1], one[2]], 0),
        ):
            score = offline.score(question.prompt, merged(MODELS, question.prompt, texts))
            assert (score.covered, score.wrong) == (covered, 1 - covered)


def test_answers_are_repeatable_samples_differ_and_say_that_they_are_stand_ins():
    for prepared in QUESTIONS:
        for model in MODELS:
            samples = [says(model, prepared.prompt, sample=number) for number in range(4)]
            assert samples == [says(model, prepared.prompt, sample=number) for number in range(4)]
            assert len(set(samples[:3])) == 3
            for text in samples:
                assert "Offline stand-in, written for this lesson" in text
                assert model.partition(":")[2] not in text, "an aggregator must not learn who wrote what"
                assert offline.score(prepared.prompt, text).covered > 0


def test_score():
    for prepared in QUESTIONS:
        truth = " ".join(point.wordings[0] for point in prepared.points if point.true)
        lies = "\n".join(point.wordings[2] for point in prepared.points if not point.true)
        true = sum(point.true for point in prepared.points)
        best = offline.score(prepared.prompt, truth)
        assert (best.covered, best.wrong) == (true, 0)
        assert 0 < best.possible <= true
        assert (best.possible == true) or prepared.pick is not None
        worst = offline.score(prepared.prompt, lies)
        assert (worst.covered, worst.wrong) == (0, len(prepared.points) - true)
        assert offline.score(prepared.prompt, "Nothing at all.").covered == 0
        assert offline.score(prepared.prompt, truth.replace(" ", "\n ")).covered == true


def test_a_question_that_is_not_prepared_gets_an_honest_answer():
    text = says(LUNA, "What is the airspeed of an unladen swallow?")
    assert "offline stand-in, not a language model" in text
    assert "put an API key into .env" in text
    assert all(question.prompt in text for question in QUESTIONS)
    with pytest.raises(ValueError, match="not a prepared question; prepared are"):
        offline.score("What is the airspeed of an unladen swallow?", text)


def test_small_differences_in_a_question_are_forgiven():
    assert says(LUNA, FIRST.lower().rstrip("?") + " ?") == says(LUNA, FIRST)


# Merging


def merged(models, prompt, texts):
    replies = [moa.Reply(model, text, finish_reason="stop") for model, text in zip(models, texts, strict=True)]
    return says("openai:gpt-6-sol", prompt, moa.aggregator_system(replies))


def test_adding_removing_or_corrupting_a_reference_changes_the_result():
    for prepared in QUESTIONS:
        texts = [says(model, prepared.prompt) for model in MODELS]
        whole = merged(MODELS, prepared.prompt, texts)
        without = [merged(MODELS[:2], prepared.prompt, texts[:2]), merged(MODELS[1:], prepared.prompt, texts[1:])]
        liar = says(LUNA, prepared.prompt, lie=True)
        corrupted = merged(MODELS, prepared.prompt, [liar, liar, texts[2]])
        assert len({whole, *without, corrupted}) > 2
        assert corrupted != whole
        assert offline.score(prepared.prompt, corrupted).wrong > offline.score(prepared.prompt, whole).wrong


def test_a_merge_adds_nothing_and_drops_contradictions():
    for prepared in QUESTIONS:
        texts = [says(model, prepared.prompt) for model in MODELS]
        given = {point for text in texts for point in bank.points_in(prepared, text)}
        kept = set(bank.points_in(prepared, merged(MODELS, prepared.prompt, texts)))
        assert kept <= given
        assert not {point.contradicts for point in kept} & {point.id for point in kept}


def test_the_majority_wins_a_contradiction():
    prepared = QUESTIONS[0]
    false = next(point for point in prepared.points if not point.true)
    true = next(point for point in prepared.points if point.id == false.contradicts)
    for winner, loser in ((true, false), (false, true)):
        text = merged(MODELS, prepared.prompt, [loser.wordings[0], winner.wordings[1], winner.wordings[2]])
        assert bank.points_in(prepared, text) == [winner]


def test_fences_keep_an_injection_out_and_bare_numbers_do_not():
    texts = [says(model, FIRST, inject=number == 1) for number, model in enumerate(MODELS)]
    assert standins.LURE not in merged(MODELS, FIRST, texts)
    naive = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))
    assert says(LUNA, FIRST, f"Combine these answers.\n{naive}") == standins.LURE


# What they know, and how they judge


def known(model, prepared, samples=12):
    """All points that a model ever says about a question."""
    texts = [says(model, prepared.prompt, sample=number) for number in range(samples)]
    return {point for text in texts for point in bank.points_in(prepared, text)}


def test_variants_are_the_same_questions_with_other_knowledge():
    many = offline.questions(4)
    assert many[: len(QUESTIONS)] == QUESTIONS
    assert len({question.id for question in many}) == len({question.prompt for question in many}) == 4 * len(QUESTIONS)
    differ = 0
    for base, variant in zip(QUESTIONS, many[len(QUESTIONS) :], strict=False):
        assert variant.prompt.startswith(base.prompt)
        assert bank.match(variant.prompt) == base
        differ += known(LUNA, base) != known(LUNA, variant)
        assert offline.score(variant.prompt, says(LUNA, variant.prompt)).possible > 0
    assert differ > len(QUESTIONS) / 2
    with pytest.raises(ValueError, match="at least once"):
        offline.questions(0)


def test_models_that_know_alike_know_the_same():
    for prepared in QUESTIONS:
        before = known(LUNA, prepared)
        with offline.knowledge(alike=1, said=1):
            first, *others = (known(model, prepared, 1) for model in MODELS)  # all three are small
            if prepared.pick is None:  # else each has its favourite topics
                assert all(other == first for other in others)
        with offline.knowledge(alike=1, said=1, recall={LUNA: 1.0}, credulity={LUNA: 0.0}):
            best, weaker = known(LUNA, prepared, 1), known(HAIKU, prepared, 1)
            if prepared.pick is None:
                assert {point for point in weaker if point.true} <= best
                assert best == {point for point in prepared.points if point.true}
        assert known(LUNA, prepared) == before, "and afterwards all is as before"


def test_knowledge_ends_with_its_block():
    before = standins.Traits.knowledge, standins.Traits.judging
    with pytest.raises(KeyError), offline.knowledge(alike=0.5), offline.judging(position=3):
        raise KeyError
    assert (standins.Traits.knowledge, standins.Traits.judging) == before
    name = "openai:gpt-6-luna"
    twice = {"recall": {name: 7}, "credulity": {name: 0.1}}
    for wrong in ({"alike": 1.5}, {"said": -1}, {"recall": {"openai:x": 2}}, twice):
        with pytest.raises(ValueError, match="it is a share"), offline.knowledge(**wrong):
            pass
    with pytest.raises(moa.UnknownModel, match="'gpt-6-luna' names no model"):
        offline.knowledge(recall={"gpt-6-luna": 0.5}).__enter__()
    with pytest.raises(TypeError), offline.knowledge(taste=1):
        pass


def chosen_share(texts, judge="groq:openai/gpt-oss-20b", prepared=QUESTIONS[1], draws=600):
    """How often the first of two texts is chosen; each variant of the question is a draw."""
    system = moa.ranker_system(texts)
    said = [says(judge, f"{prepared.prompt} (variant {number})", system) for number in range(draws)]
    assert set(said) <= {"1", "2"}
    return said.count("1") / draws


# What sways a judge, the two texts (or how many points they make), and how much that pulls to the first
SWAYS = [
    ({"position": 0.6}, ["Some words.", "Some words!"], 0.6),
    ({"position": -1.0}, ["Some words.", "Some words!"], -1.0),
    ({"points": 0.5}, [1, 2], 0.5 * -1),
    ({"length": 2.0}, ["word " * 30, "word " * 20], 2.0 * math.log(1.5)),
    ({"family": 0.8}, ["- A: one.\n- B: two.", "A. one.\n\nB. two."], 0.8),
]


def test_a_judge_prefers_as_much_as_it_is_said_to():
    true = [point.wordings[0] for point in QUESTIONS[1].points if point.true]
    none = {"points": 0, "position": 0, "length": 0, "family": 0}
    for sways, given, pull in SWAYS:
        texts = [" ".join(true[:text]) if isinstance(text, int) else text for text in given]
        judge = SMALL if "family" in sways else "groq:openai/gpt-oss-20b"
        with offline.judging(**none | sways):
            assert chosen_share(texts, judge) == pytest.approx(1 / (1 + math.exp(-pull)), abs=0.06), sways
        with offline.judging(**none):
            assert chosen_share(texts, judge) == pytest.approx(0.5, abs=0.06), sways


def test_a_layout_tells_the_vendor():
    for prepared in QUESTIONS:
        for place, model in enumerate(MODELS):
            for sample in range(6):
                assert standins._layout(says(model, prepared.prompt, sample=sample)) == place
