"""Which references enter: what ``agreement`` promises for any texts, in constructed cases, and on the answer bank."""

import random
import string
from itertools import combinations

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from moa_helpers.steps import agreement
from moa_helpers.steps.agreement import majority

ODD = [
    "",
    " ",
    "\n\n",
    "(a note)",
    "42",
    "No.",
    "…",
    "\0",
    "###",
    "**",
    "🦀🦀🦀",
    "天空为什么是蓝色的?因为散射。",
    "the and for " * 50,
]
LYING = ["openai:gpt-6-luna", "anthropic:claude-haiku-5-5"]


def word(dice):
    return "".join(dice.choices(string.ascii_lowercase, k=6))


def fact(dice):
    """A sentence that shares no word with any other."""
    return " ".join(word(dice) for _ in range(8)).capitalize() + "."


def text(dice, facts):
    """These sentences in an order and layout of their own, each without one of its words."""
    said = []
    for sentence in facts:
        kept = sentence.split()
        kept.pop(dice.randrange(len(kept) - 1))
        said.append(" ".join(kept))
    return dice.choice([" ", "\n- ", "\n\n"]).join(dice.sample(said, len(said)))


def chance_texts(dice):
    """Up to nine texts with much, little or nothing in common, odd ones and copies among them."""
    facts = [fact(dice) for _ in range(dice.randrange(1, 12))]
    texts = [text(dice, dice.sample(facts, dice.randrange(1, len(facts) + 1))) for _ in range(dice.randrange(0, 8))]
    texts += dice.choices(ODD, k=dice.randrange(0, 3))
    if texts and dice.random() < 0.4:
        texts += [dice.choice(texts)] * dice.randrange(1, 3)
    return dice.sample(texts, len(texts))


# What holds for any texts


def test_promises_for_any_texts():
    for seed in range(300):
        keeps_its_promises(seed)


def keeps_its_promises(seed):
    dice = random.Random(seed)
    texts = chance_texts(dice)
    enter, found = majority(texts), agreement.agreement(texts)
    assert enter == sorted(set(enter))
    assert set(enter) <= set(range(len(texts)))
    assert 2 * len(enter) > len(texts) or len(texts) == len(enter), "fewer than half are left out"
    assert len(found) == len(texts)
    assert all(0 <= share <= 1 for share in found)
    out = [found[place] for place in range(len(texts)) if place not in enter]
    assert all(share < found[place] for share in out for place in enter), "who agrees more is never left out first"

    order = dice.sample(range(len(texts)), len(texts))
    moved = [texts[place] for place in order]
    assert agreement.agreement(moved) == [found[place] for place in order]
    assert majority(moved) == [new for new, place in enumerate(order) if place in enter]


def test_none_one_and_two_texts_all_enter():
    assert majority([]) == []
    assert majority(["The sky is blue today."]) == [0]
    assert majority(["The sky is blue today.", "Grass grows green every spring."]) == [0, 1]


@pytest.mark.parametrize("count", range(3, 10))
def test_texts_with_nothing_in_common_all_enter(count):
    dice = random.Random(count)
    assert majority([text(dice, [fact(dice) for _ in range(4)]) for _ in range(count)]) == list(range(count))


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts_neither_break_nor_push_out_the_others(odd):
    dice = random.Random(1)
    facts = [fact(dice) for _ in range(4)]
    texts = [text(dice, facts) for _ in range(3)]
    assert majority([odd] * 3) == [0, 1, 2]
    assert majority([texts[0], odd, *texts[1:]]) == [0, 2, 3]


# Liars


@pytest.mark.parametrize("count", range(3, 11))
@pytest.mark.parametrize("alike", ["the same text", "the same claims", "claims of their own"])
def test_a_minority_that_says_what_nobody_else_says_is_left_out(count, alike):
    for seed in range(20):
        dice = random.Random(f"{seed}/{count}")
        lying = dice.randrange(1, (count - 1) // 2 + 1)
        facts = [fact(dice) for _ in range(6)]
        # Any two honest ones have claims in common, as each makes four of six.
        honest = [text(dice, dice.sample(facts, 4)) for _ in range(count - lying)]
        lies = [fact(dice) for _ in range(4)]
        false = text(dice, lies)
        liars = {
            "the same text": [false] * lying,
            "the same claims": [text(dice, lies) for _ in range(lying)],
            "claims of their own": [text(dice, [fact(dice) for _ in range(4)]) for _ in range(lying)],
        }[alike]
        enter = majority([*honest, *liars])
        assert not set(enter) & set(range(len(honest), count))
        assert len(enter) > count / 2


def test_honest_copies_vouch_for_each_other_if_they_are_many():
    """Self-MoA on an easy question: four samples say the same, two others something else."""
    dice = random.Random(5)
    same = text(dice, [fact(dice) for _ in range(5)])
    assert majority([same] * 4 + [text(dice, [fact(dice) for _ in range(5)]) for _ in range(2)]) == [0, 1, 2, 3]


def test_short_answers_are_compared_too():
    assert majority(["42", "42", "It is 17."]) == [0, 1]


def test_a_short_answer_within_a_long_one_is_no_copy():
    dice = random.Random(11)
    facts = [fact(dice) for _ in range(8)]
    texts = [text(dice, facts), text(dice, facts[:4]), *(text(dice, [fact(dice)]) for _ in range(3))]
    assert agreement.agreement(texts) == [0.5, 1, 0, 0, 0]


def test_too_little_agreement_to_judge_by():
    dice = random.Random(12)
    shared = fact(dice)
    texts = [text(dice, [fact(dice) for _ in range(3)] + [shared] * (place < 2)) for place in range(5)]
    assert max(agreement.agreement(texts)) == 0.25
    assert majority(texts) == [0, 1, 2, 3, 4]


def test_repeating_a_true_sentence_does_not_help():
    dice = random.Random(6)
    facts = [fact(dice) for _ in range(5)]
    lies = [fact(dice) for _ in range(4)]
    honest = [text(dice, facts) for _ in range(2)]
    assert majority([*honest, " ".join([*lies, *[facts[0]] * 100])]) == [0, 1]


# Limits, which the notebook tells


def test_limit_two_liars_of_three_have_the_majority():
    dice = random.Random(7)
    lies = [fact(dice) for _ in range(4)]
    texts = [text(dice, [fact(dice) for _ in range(4)]), text(dice, lies), text(dice, lies)]
    assert majority(texts) == [1, 2]


def test_limit_a_lie_among_truths_gets_through():
    dice = random.Random(8)
    facts = [fact(dice) for _ in range(5)]
    assert majority([text(dice, facts), text(dice, facts), text(dice, [*facts, fact(dice)])]) == [0, 1, 2]


def test_limit_an_honest_answer_in_words_of_its_own_is_left_out():
    texts = [
        "Air scatters short wavelengths of sunlight much more strongly than long ones.",
        "Short wavelengths of sunlight are scattered by air much more strongly than long ones.",
        "Tiny molecules overhead fling bluish rays everywhere while red passes straight through.",
    ]
    assert majority(texts) == [0, 1]


# The arithmetic behind it


def slow_agreement(claims):
    """By definition: for each text the share of its sentences that another says, near copies only if they are many."""
    minority = (len(claims) - 1) // 2

    def says(claim, own):
        return any(2 * len(claim & other) >= len(claim) for other in own)

    def share(one, other):
        return sum(says(claim, claims[other]) for claim in claims[one]) / len(claims[one])

    shares = []
    for place, own in enumerate(claims):
        copies = {n for n, _ in enumerate(claims) if min(share(place, n), share(n, place)) >= 0.8}
        doubtful = copies if len(copies) <= minority else {place}
        others = [claims[n] for n, _ in enumerate(claims) if n not in doubtful]
        shares.append(sum(any(says(claim, other) for other in others) for claim in own) / len(own))
    return shares


def test_comparing_all_sentences_at_once_is_the_same_as_comparing_them_one_by_one():
    for seed in range(200):
        dice = random.Random(seed)
        vocabulary = sorted({word(dice) for _ in range(dice.randrange(12, 40))} - agreement.COMMON)
        claims = [
            {frozenset(dice.sample(vocabulary, dice.randrange(4, 12))) for _ in range(dice.randrange(1, 7))}
            for _ in range(dice.randrange(1, 8))
        ]
        texts = ["\n".join(" ".join(claim).capitalize() + "." for claim in own) for own in claims]
        assert agreement.agreement(texts) == pytest.approx(slow_agreement(claims)), seed


# On the answer bank


def leave_outs(count, lying):
    """How often liars and honest ones are left out, over the whole bank."""
    tried, out = {"liar": 0, "honest": 0}, {"liar": 0, "honest": 0}
    for question in offline.questions():
        for trio in combinations(moa.models().index[:7], count):
            texts = [
                standins.answer(moa.find(model), "", question.prompt, lie=place < lying)
                for place, model in enumerate(trio)
            ]
            enter = majority(texts)
            for place in range(count):
                who = "liar" if place < lying else "honest"
                tried[who] += 1
                out[who] += place not in enter
    return {who: out[who] / tried[who] for who in tried if tried[who]}


@pytest.mark.parametrize(("count", "lying"), [(3, 1), (6, 1), (6, 2)])
def test_liars_are_left_out_more_often_than_honest_ones(count, lying):
    shares = leave_outs(count, lying)
    assert shares["liar"] > 2 * shares["honest"]
    assert shares["honest"] < 0.25
