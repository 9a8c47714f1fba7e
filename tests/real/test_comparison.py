"""A comparison of a real model with its own mixture on questions with exact answers."""

import re

import moa_helpers as moa
from moa_helpers.evaluation import measures
from tests.real.conftest import MODEL
from tests.support.kept import rows

QUESTIONS = {
    "What is 3 + 4?": "7",
    "What is 17 + 25?": "42",
    "What is 6 times 7?": "42",
    "How many legs does a spider have?": "8",
    "What is the capital of France?": "paris",
    "What is the capital of Australia?": "canberra",
    "What is the capital of Canada?": "ottawa",
    "What is the capital of Japan?": "tokyo",
    "Is the Earth flat? Answer yes or no.": "no",
    "Is ice colder than steam? Answer yes or no.": "yes",
}
KINDS = (r"\d+|eight", "paris|canberra|sydney|melbourne|ottawa|toronto|tokyo|osaka|lyon", r"\b(?:yes|no)\b")


def exact(prompt, text):
    """Whether a text names the right answer, and no other of its kind."""
    answer = QUESTIONS[prompt]
    kind = next(kind for kind in KINDS if re.fullmatch(kind, answer))
    named = set(re.findall(kind, text.lower().replace("eight", "8"))) - set(re.findall(r"\d+", prompt))
    return named == {answer}


def test_the_scorer_is_strict():
    assert exact("What is 17 + 25?", "17 + 25 = 42.")
    assert not exact("What is 17 + 25?", "17 + 25 is 42, or 32.")
    assert not exact("What is the capital of Australia?", "Sydney, but officially Canberra.")
    assert exact("How many legs does a spider have?", "It has eight.")
    assert not exact("Is the Earth flat? Answer yes or no.", "I do not know.")


def test_a_model_against_its_own_mixture(run, tmp_path):
    questions = [moa.Question(f"q{number}", prompt) for number, prompt in enumerate(QUESTIONS)]
    ways = {"single": MODEL, "self-mixture": {"reference_models": [MODEL] * 3, "aggregator": MODEL}}
    options = {"path": tmp_path / "comparison.sqlite", "max_concurrency": 4, "max_tokens": 60}
    found = run(moa.compare(questions, ways, **options))
    prompts = {question.id: question.prompt for question in questions}
    right = {way: [] for way in ways}
    for each in found.answers:
        assert each.text, each
        right[each.strategy].append(exact(prompts[each.question], each.text))
    for way, scores in right.items():
        assert len(scores) == len(QUESTIONS)
        print(f"{way}: {sum(scores)} of {len(scores)} right, {measures.rate(scores)}")
    assert 0 < sum(map(sum, right.values())) < 2 * len(QUESTIONS)
    assert set(found.table().cost_usd) == {0.0}

    kept = rows(options["path"])
    assert run(moa.compare(questions, ways, **options)).answers == found.answers
    assert rows(options["path"]) == kept, "a call was made again"
