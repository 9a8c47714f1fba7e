"""What the stand-ins say: repeatable and honest answers, and a merge that depends on what it is given; how fast."""

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import latency, standins

QUESTIONS = offline.questions()
BY_KIND = pytest.mark.parametrize("prepared", QUESTIONS, ids=lambda question: question.id)


def says(model, prompt, system="", **options):
    return standins.answer(moa.find(model), system, prompt, **options)


# The bank


def test_the_bank_has_questions_of_different_kinds():
    assert len(QUESTIONS) >= 8
    assert len({question.kind for question in QUESTIONS}) >= 6
    assert QUESTIONS[0].prompt == "What are three fun things to do in San Francisco?"
    assert len({question.prompt for question in QUESTIONS}) == len(QUESTIONS)


@BY_KIND
def test_rules_of_the_bank(prepared):
    points = {point.id: point for point in prepared.points}
    assert len(points) == len(prepared.points)
    wordings = [wording for point in prepared.points for wording in point.wordings]
    assert len(set(wordings)) == len(wordings)
    for point in prepared.points:
        assert len(point.wordings) == 3
        for wording in point.wordings:  # no wording within another, or a text would make points that it does not make
            assert wording == " ".join(wording.split())
            assert [other for other in wordings if wording in other] == [wording]
        if point.true:
            assert point.contradicts is None
        else:
            assert points[point.contradicts].true
    assert any(not point.true for point in prepared.points)
    topics = {point.topic for point in prepared.points if point.true}
    assert prepared.pick is None or prepared.pick <= len(topics)


# What the stand-ins say


@BY_KIND
def test_answers_are_repeatable_samples_differ_and_say_that_they_are_stand_ins(prepared, models):
    for model in models:
        samples = [says(model, prepared.prompt, sample=number) for number in range(4)]
        assert samples == [says(model, prepared.prompt, sample=number) for number in range(4)]
        assert len(set(samples[:3])) == 3
        for text in samples:
            assert "Offline stand-in, written for this lesson" in text
            assert model.partition(":")[2] not in text, "an aggregator must not learn who wrote what"
            assert offline.score(prepared.prompt, text).covered > 0


@BY_KIND
def test_score(prepared):
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


def test_a_question_that_is_not_prepared_gets_an_honest_answer(models):
    text = says(models[0], "What is the airspeed of an unladen swallow?")
    assert "offline stand-in, not a language model" in text
    assert "put an API key into .env" in text
    assert all(question.prompt in text for question in QUESTIONS)
    with pytest.raises(ValueError, match="not a prepared question; prepared are"):
        offline.score("What is the airspeed of an unladen swallow?", text)


def test_small_differences_in_a_question_are_forgiven(models, question):
    assert says(models[0], question.lower().rstrip("?") + " ?") == says(models[0], question)


# Merging


def merged(models, prompt, texts):
    replies = [moa.Reply(model, text, finish_reason="stop") for model, text in zip(models, texts, strict=True)]
    return says("openai:gpt-6-sol", prompt, moa.aggregator_system(replies))


@BY_KIND
def test_adding_removing_or_corrupting_a_reference_changes_the_result(prepared, models):
    texts = [says(model, prepared.prompt) for model in models]
    whole = merged(models, prepared.prompt, texts)
    without = [merged(models[:2], prepared.prompt, texts[:2]), merged(models[1:], prepared.prompt, texts[1:])]
    liar = says(models[0], prepared.prompt, lie=True)
    corrupted = merged(models, prepared.prompt, [liar, liar, texts[2]])
    assert len({whole, *without, corrupted}) > 2
    assert corrupted != whole
    assert offline.score(prepared.prompt, corrupted).wrong > offline.score(prepared.prompt, whole).wrong


@BY_KIND
def test_a_merge_adds_nothing_and_drops_contradictions(prepared, models):
    texts = [says(model, prepared.prompt) for model in models]
    given = {point for text in texts for point in standins.points_in(prepared, text)}
    kept = set(standins.points_in(prepared, merged(models, prepared.prompt, texts)))
    assert kept <= given
    assert not {point.contradicts for point in kept} & {point.id for point in kept}


def test_the_majority_wins_a_contradiction(models):
    prepared = QUESTIONS[0]
    false = next(point for point in prepared.points if not point.true)
    true = next(point for point in prepared.points if point.id == false.contradicts)
    for winner, loser in ((true, false), (false, true)):
        text = merged(models, prepared.prompt, [loser.wordings[0], winner.wordings[1], winner.wordings[2]])
        assert standins.points_in(prepared, text) == [winner]


def test_fences_keep_an_injection_out_and_bare_numbers_do_not(models, question):
    texts = [says(model, question, inject=number == 1) for number, model in enumerate(models)]
    assert standins.LURE not in merged(models, question, texts)
    naive = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))
    assert says(models[0], question, f"Combine these answers.\n{naive}") == standins.LURE


# Delays


def test_a_seed_repeats_the_delays(models):
    def draws(seed, count=500):
        clock = latency.Latency(seed)
        return {model: [clock.draw(model) for _ in range(count)] for model in models}

    first = draws(7)
    assert first == draws(7)
    assert first != draws(8)
    for model in models:
        median, rate = latency.median(model)
        times = sorted(ttft for ttft, _ in first[model])
        assert times[250] == pytest.approx(median, rel=0.1)
        assert 0.01 < sum(ttft == pytest.approx(6 * median) for ttft in times) / 500 < 0.06  # rare spikes
        assert {rate for _, rate in first[model]} == {rate}


def test_every_model_has_a_delay():
    for name in moa.models().index:
        ttft, rate = latency.median(name)
        assert 0 < ttft < 10
        assert 1 < rate < 1000


# What they know, and how they judge


def known(model, prepared, samples=12):
    """All points that a model ever says about a question."""
    texts = [says(model, prepared.prompt, sample=number) for number in range(samples)]
    return {point for text in texts for point in standins.points_in(prepared, text)}


def test_variants_are_the_same_questions_with_other_knowledge(models):
    many = offline.questions(4)
    assert many[: len(QUESTIONS)] == QUESTIONS
    assert len({question.id for question in many}) == len({question.prompt for question in many}) == 4 * len(QUESTIONS)
    differ = 0
    for base, variant in zip(QUESTIONS, many[len(QUESTIONS) :], strict=False):
        assert variant.prompt.startswith(base.prompt)
        assert standins.match(variant.prompt) == base
        differ += known(models[0], base) != known(models[0], variant)
        assert offline.score(variant.prompt, says(models[0], variant.prompt)).possible > 0
    assert differ > len(QUESTIONS) / 2
    with pytest.raises(ValueError, match="at least once"):
        offline.questions(0)


@BY_KIND
def test_models_that_know_alike_know_the_same(prepared, models):
    with offline.knowledge(alike=1, said=1):
        first, *others = (known(model, prepared, 1) for model in models)  # all three are small
        if prepared.pick is None:  # else each has its favourite topics
            assert all(other == first for other in others)
    with offline.knowledge(alike=1, said=1, recall={models[0]: 1.0}, credulity={models[0]: 0.0}):
        best, weaker = known(models[0], prepared, 1), known(models[1], prepared, 1)
        if prepared.pick is None:
            assert {point for point in weaker if point.true} <= best
            assert best == {point for point in prepared.points if point.true}
    assert known(models[0], prepared) == known(models[0], prepared), "and afterwards all is as before"


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


@pytest.mark.parametrize(
    ("sways", "texts", "pull"),
    [
        ({"position": 0.6}, ["Some words.", "Some words!"], 0.6),
        ({"position": -1.0}, ["Some words.", "Some words!"], -1.0),
        ({"points": 0.5}, [0, 1], 0.5 * -1),
        ({"length": 2.0}, ["word " * 30, "word " * 20], 2.0 * 0.405),
        ({"family": 0.8}, ["- A: one.\n- B: two.", "A. one.\n\nB. two."], 0.8),
    ],
)
def test_a_judge_prefers_as_much_as_it_is_said_to(sways, texts, pull):
    true = [point.wordings[0] for point in QUESTIONS[1].points if point.true]
    texts = [" ".join(true[: 1 + text]) if isinstance(text, int) else text for text in texts]
    none = {"points": 0, "position": 0, "length": 0, "family": 0}
    judge = "mistral:mistral-small-2603" if "family" in sways else "groq:openai/gpt-oss-20b"
    with offline.judging(**none | sways):
        assert chosen_share(texts, judge) == pytest.approx(1 / (1 + 2.718281828**-pull), abs=0.06)
    with offline.judging(**none):
        assert chosen_share(texts, judge) == pytest.approx(0.5, abs=0.06)


@BY_KIND
def test_a_layout_tells_the_vendor(prepared, models):
    for place, model in enumerate(models):
        for sample in range(6):
            assert standins._layout(says(model, prepared.prompt, sample=sample)) == place
