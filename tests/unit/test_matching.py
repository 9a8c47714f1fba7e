"""What the stand-ins understand: a prepared question in other words and longer texts, and answers to merge in them."""

import itertools
import re
import time

import pytest

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import bank, matching, standins
from tests.support.scripts import HAIKU, LUNA, SMALL

SKY = "Why is the sky blue?"
CITY = "What are three fun things to do in San Francisco?"
MODELS = [LUNA, HAIKU, SMALL]
BY_ID = {question.id: question for question in offline.questions()}
STRANGER = "together:Qwen/Qwen2-72B-Instruct"

SAME = {
    "sky-blue": [
        "Why is the sky blue? Answer briefly.",
        "Answer in one sentence. Why is the sky blue?",
        "Tell me why the sky is blue.",
        "Could you explain to me, please, why the sky looks blue?",
        "Explain in two sentences why the sky is blue.",
        "Why is the sky blue, in simple terms?",
        "Why's the sky so blue",
        "WHY IS THE SKY BLUE?!",
        "why is the sky bleu?",
        "What makes the sky blue?",
        "What gives the sky its blue color?",
        "Explain why the sky is blue to a 5-year-old",
        "How come the sky is blue?",
        "What is the reason that the sky is blue?",
        "The sky is blue. Why?",
        "Please answer: Why is the sky blue?",
        "Explain like I'm five: why is the sky blue?",
        "Hi! Why is the sky blue? Thanks in advance",
        "Why is the sky blue? Can you keep it short?",
        "> **Why is the *sky* blue?**",
        "1. Why is the sky blue?",
        "„Why is the sky blue?“",
        "Bitte beantworte diese Frage auf Englisch: „Why is the sky blue?“",
        "» Why is the sky blue? «",
        "The question is 'Why is the sky blue?'",
        'Answer "Why is the sky blue?" in one sentence.',
        "lorem ipsum dolor " * 55_000 + "Why is the sky blue?",
        "Why is the sky\nblue?",
        "Why is the sky blue\u00a0?",
        "Ｗｈｙ is the sky blue？",
        "# Task\nWhy is the sky blue?\n```\nprint('hello')\n```",
        "<question>Why is the sky blue?</question>",
        '{"question": "Why is the sky blue?", "answer": null}',
        '{"chat": "User:\\nWhy is the sky blue?\\nAssistant:"}',
        "Q: Why is the sky blue?\nA:",
        "Human: Why is the sky blue?\n\nAssistant:",
        "<|user|>\nWhy is the sky blue?<|end|>\n<|assistant|>",
        "User: What is the capital of France?\nAssistant: Paris.\nUser: Why is the sky blue?",
        "User: What causes the seasons on Earth?\nAssistant: The tilt.\nUser: Why is the sky blue?",
        "Why is the sky blue?\n\nReply with the number of the best answer and nothing else.",
        "Why is the sky blue? (variant 2)\n\nReply with one number.",
        "An unrelated sentence about lorem ipsum. " * 2_000 + "\nWhy is the sky blue?",
        "Why is the sky blue?\n" + "An unrelated sentence about lorem ipsum. " * 2_000,
    ],
    "san-francisco": [
        "What are 3 fun things to do in SF?",
        "What are some fun things to do in SF?",
        "Give me three fun things to do in San Francisco!",
        "what are three fun things to do in san fransisco",
        "List the top 3 things to do in S.F.",
        "What should I do in San Francisco?",
        "Give me 3 fun things to do in San Francisco in one sentence each.",
    ],
    "seasons": ["What causes Earth's seasons?", "Why do we have seasons?", "Explain what causes the seasons."],
    "bat-and-ball": [
        "A bat and a ball cost $1.10 in total. The bat costs $1.00 more than the ball. How much does the ball cost?",
        BY_ID["bat-and-ball"].prompt + " Think step by step.",
    ],
    "monty-hall": ["Monty Hall: should I switch?", "In the Monty Hall problem, should I switch doors? Be brief."],
    "large-csv": [
        "How can I read a huge CSV file in Python without running out of memory? Show code.",
        "How do I load a big csv in Python with pandas without running out of RAM?",
        "How do I read a large CSV file in Python without\nrunning out of memory?",
    ],
    "asyncio-threads": ["When should I use asyncio instead of threads?", "asyncio vs threads in Python?"],
    "first-10k": [
        "Make a training plan for a first 10k",
        "How do I train for my first 10k?",
        "Please plan a first 10k run for a beginner.",
        BY_ID["first-10k"].prompt + " Use bullet points.",
    ],
    "database-move": ["How should a small team prepare for migrating its database to a new server?"],
    "help-email": ["How do I write a clear email that asks a coworker for help?"],
}
AROUND = [  # what may stand around any question
    "{} Answer briefly.",
    "{} Think carefully before you answer. Keep it under 50 words!",
    "{}\n\nDo not use Markdown.",
    "{} Antworte kurz.",
    "I have a question. {} Thanks!",
    "Can you tell me: {}",
    "Hey, quick question — {}",
    "What is the answer to the following question? {}",
    "As an expert, answer this: {}",
    "Dear assistant,\n\n{}\n\nBest regards,\nAnna",
    "**{}**",
    "`{}`",
    "```\n{}\n```",
    "„{}“",
    "Given the question “{}”, write the best possible answer.",
    "Given the question '{}' and the answers below, which is better?\nA: x\nB: y",
    "[Question]\n{}\n\n[Assistant A]\nfoo\n[End]",
    "User question: {}\n\nCandidates:\n[1] foo\n[2] bar\n\nWhich one is best?",
    "### Instruction:\n{}\n\n### Response:",
    "<s>[INST] {} [/INST]",
    "Previous turns:\nUser: Who won the cup?\nAssistant: France.\n\nCurrent question: {}",
    "{}\n\n--\nSent from my phone",
    "{} (variant 3)\nAnswer in German.",
]
OTHER = [
    "What is the capital of France?",
    "Why is the sky blue on Mars?",
    "On Mars, why is the sky blue?",
    "Why is the sky blue at sunset?",
    "Why is the sky not blue?",
    "Why isn't the sky blue?",
    "Is the sky blue?",
    "Why is the sea blue?",
    "Why is the sky red?",
    "Why is the grass green?",
    "Why is the sky blue and the grass green?",
    "Why is the sky blue? What is the capital of France?",
    "What is the capital of France? Why is the sky blue?",
    "User: Why is the sky blue?\nAssistant: Because.\nUser: What is the capital of France?\nAssistant:",
    "What is the capital of France? Don't tell me why the sky is blue.",
    "Translate into French: Why is the sky blue?",
    "Translate Why is the sky blue?",
    "Rephrase the following sentence.\n\nWhy is the sky blue?",
    "What are three fun things to do in San Diego?",
    "What are three fun things to do in San Francisco with kids?",
    "What are the three largest things in San Francisco?",
    "What causes the seasons on Mars?",
    "Why was season three so short?",
    "A bat and a ball cost 2.20 dollars together. The bat costs one dollar more than the ball. How much is the ball?",
    "A bat and a ball cost 1.10 dollars together. The bat costs 2 dollars more than the ball. How much is the ball?",
    "Should I switch doors in the Monty Python problem?",
    "How do I read a large CSV file in R without running out of memory?",
    "How do I write a large CSV file in Python without running out of memory?",
    "When should I use asyncio rather than processes in Python?",
    "Plan a first 5 km run for someone who starts from nothing.",
    "Plan a first 100 km run for someone who starts from nothing.",
    "How should a small team prepare for moving its office to a new building?",
    "Write an e-mail that asks a colleague for help.",
    "",
    "?",
    "Hello!",
]


def says(prompt, system="", model=LUNA, **options):
    return standins.answer(moa.find(model), system, prompt, **options)


def test_the_same_question_is_found_in_other_words_and_inside_a_longer_text():
    found = {text: bank.match(text) for texts in SAME.values() for text in texts}
    wanted = {text: BY_ID[name] for name, texts in SAME.items() for text in texts}
    assert {text[:90]: (found[text], wanted[text]) for text in wanted if found[text] != wanted[text]} == {}


@pytest.mark.parametrize("around", AROUND)
def test_each_question_is_found_in_what_stands_around_it(around):
    found = {question.id: bank.match(around.format(question.prompt)) for question in offline.questions()}
    assert {name: found[name] and found[name].id for name in found} == {name: name for name in found}
    for change in (str.lower, str.upper, lambda text: text.replace(" ", "  ")):
        for question in offline.questions():
            assert bank.match(around.format(change(question.prompt))) == question


def test_one_strange_word_makes_it_another_question():
    for question in offline.questions():
        words = question.prompt.split()
        for place, strange in itertools.product(range(len(words)), ("bananas", "never", "Mars", "5000")):
            for text in ([*words[:place], strange, *words[place + kept :]] for kept in (0, 1)):
                assert bank.match(" ".join(text)) is None, text
        assert bank.match(f"{question.prompt[:-1]} for bananas?") is None


def test_another_question_is_not_taken_for_a_prepared_one():
    assert [text for text in OTHER if bank.match(text)] == []
    for text in OTHER:
        assert "it has no answer to that question" in says(text)
        assert "it has no answer to that question" in says(text, "Follow these:\n1. Be brief.\n2. Be kind.")


def test_what_stands_around_a_question_changes_neither_the_answer_nor_a_choice():
    for model, around in itertools.product(MODELS, ["Please answer: {}", "{}\n\nBe brief.", "{} Think step by step."]):
        assert says(around.format(SKY), model=model) == says(SKY, model=model)
        for number in range(2, 6):
            asked = f"{SKY} (variant {number})"
            assert says(around.format(asked), model=model) == says(asked, model=model)
            texts = [says(asked, model=one) for one in MODELS]
            judged = [says(text, moa.ranker_system(texts), model=model) for text in (asked, around.format(asked))]
            assert judged[0] == judged[1] in {"1", "2", "3"}
    assert says(f"{SKY} (variant 2)") != says(SKY)


# Other people's ways to send an aggregator what it is to merge

PLACES = {  # as (system, prompt), made of the answers and the question
    "numbered, system": lambda texts, asked: ("Combine:\n" + numbered(texts), asked),
    "numbered, user, question last": lambda texts, asked: (
        "Combine.",
        f"Responses:\n{numbered(texts)}\n\nQuery: {asked}",
    ),
    "named, user, question first": lambda texts, asked: (
        "",
        f"Question: {asked}\n\nSTAGE 1\n\n"
        + "\n\n".join(f"Response {name}:\n{t}" for name, t in zip("ABCD", texts, strict=False)),
    ),
    "context": lambda texts, asked: (
        "",
        "Context:\n" + "\n---\n".join(texts) + f"\n\nQuestion: {asked}\nHelpful Answer:",
    ),
    "XML": lambda texts, asked: (
        "You are an arbiter.",
        f"<original_prompt>{asked}</original_prompt>\n"
        + "".join(f"<model_response>{t}</model_response>\n" for t in texts),
    ),
    "one line": lambda texts, asked: (
        "Merge what you are sent.",
        f"{asked} Answers: " + " | ".join(" ".join(t.split()) for t in texts),
    ),
    "no question": lambda texts, asked: ("You are given responses to the latest user query.", ",".join(texts)),
    "improve": lambda texts, asked: ("", f"Improve this response:\n\n{texts[0]}\n\nOriginal query: {asked}"),
}


def numbered(texts):
    return "\n\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


@pytest.mark.parametrize("place", PLACES)
def test_answers_are_merged_wherever_they_stand(place):
    for asked in (CITY, SKY, BY_ID["bat-and-ball"].prompt):
        question = bank.match(asked)
        texts = [says(asked, model=model) for model in MODELS]
        system, prompt = PLACES[place](texts, asked)
        given = {point for text in texts for point in bank.points_in(question, text)}
        kept = set(bank.points_in(question, says(prompt, system, "openai:gpt-6-sol")))
        assert kept
        assert kept <= given
        fewer = set(bank.points_in(question, says(*reversed(PLACES[place](texts[:1], asked)), "openai:gpt-6-sol")))
        assert fewer <= set(bank.points_in(question, texts[0])), "it merges no more than what it is sent"


@pytest.mark.parametrize("place", [place for place in PLACES if place != "improve"])
def test_the_majority_wins_wherever_the_answers_stand(place):
    question = BY_ID["san-francisco"]
    false = next(point for point in question.points if not point.true)
    true = next(point for point in question.points if point.id == false.contradicts)
    for winner, loser in ((true, false), (false, true)):
        system, prompt = PLACES[place]([loser.wordings[0], winner.wordings[1], winner.wordings[1]], CITY)
        assert bank.points_in(question, says(prompt, system)) == [winner]


def test_answers_to_a_question_that_is_not_prepared_are_not_merged_into_one_that_is():
    texts = [says(SKY, model=model) for model in MODELS]
    unprepared = [says("What is the capital of France?", model=model) for model in MODELS]
    for place, sent in itertools.product(PLACES.values(), (texts, unprepared)):
        system, prompt = place(sent, "What is the capital of France?")
        if "France" in prompt:
            assert "it has no answer to that question" in says(prompt, system)


# No empty success


def test_instructions_in_a_numbered_list_are_no_answers_to_merge():
    for system in (
        "Follow these rules:\n1. Be brief.\n2. Be kind.",
        "1. You are a pirate.\n2. You love the sea.",
        "Steps\n1. Think.\n2. Answer.\n10. Stop.",
        "# Rules\n\n1.  Never lie.\n\n2.  Cite.",
    ):
        for model, question in itertools.product(MODELS, offline.questions()):
            assert says(question.prompt, system, model) == says(question.prompt, model=model)


def test_no_answer_is_empty():
    fenced = moa.aggregator_system([moa.Reply(LUNA, text, finish_reason="stop") for text in ("Hm.", "No idea.")])
    systems = [
        "",
        "1. Be brief.",
        fenced,
        fenced.replace("</reference", "<reference"),
        fenced[: fenced.rindex("\n")],
        '<reference-abcdef01 number="1">\n\n</reference-abcdef01>',
        '<candidate-abcdef01 number="1">\n\n</candidate-abcdef01>',
        standins.INJECTION,
        f"1. {BY_ID['sky-blue'].points[0].wordings[0]}\n{standins.INJECTION}",
        f"1. {BY_ID['sky-blue'].points[0].wordings[0]}\n{standins.INJECTION}\n\n  \n",
    ]
    for system, prompt, model in itertools.product(systems, (SKY, CITY, "Hello?", ""), (*MODELS, STRANGER)):
        for options in ({}, {"lie": True}, {"inject": True}):
            text = says(prompt, system, model, **options)
            assert text.partition("(Offline stand-in")[0].strip() or text.strip().isdigit(), (system, prompt, options)
    with offline.knowledge(said=0, alike=1, recall={LUNA: 0.0}, credulity={LUNA: 1.0}):
        assert says(SKY).partition("(Offline")[0].strip()


def test_references_without_a_point_are_called_so_and_nothing_is_added():
    fenced = moa.aggregator_system([moa.Reply(LUNA, "Because of dust.", finish_reason="stop")])
    text = says(SKY, fenced)
    assert "no point that I know" in text
    assert bank.points_in(BY_ID["sky-blue"], text) == []


def test_a_model_that_the_catalogue_does_not_know_says_so_and_no_name():
    strangers = (STRANGER, "openai:gpt-99-nova", "openai:gpt-6-lunar", "mistral:qwen", "ollama:llama3.2")
    for name, prompt in itertools.product(strangers, (SKY, "What is the capital of France?")):
        text = says(prompt, model=name)
        assert text.endswith("(Offline stand-in, written for this lesson. The catalogue does not know this model.)")
        assert name.partition(":")[2] not in text
    for name in MODELS:
        assert says(SKY, model=name).endswith("(Offline stand-in, written for this lesson.)")


# What a long text costs

POINT = BY_ID["sky-blue"].points[0].wordings[0]
FENCE = '<{0}-abcdef01 number="1">\n'
LONG = {
    "words": ("", "lorem ipsum dolor " * 55_000 + SKY),
    "one word": ("", "a" * 1_000_000),
    "dots": ("", "a." * 500_000),
    "short sentences": ("", "a. " * 333_000),
    "short questions": ("", "a? " * 333_000),
    "the question": ("", f"{SKY}\n" * 47_000),
    "nearly the question": ("", "Why is the sky. Blue on Mars. " * 33_000),
    "turns": ("", "user: a? " * 110_000),
    "blanks": ("", " " * 300_000 + SKY + " " * 300_000),
    "blanks within": ("", "Why is the sky" + " " * 300_000 + "blue?"),
    "line breaks": ("", "\n" * 300_000 + SKY),
    "backticks": ("", "```\n" * 75_000 + SKY),
    "blanks before a variant": ("", SKY + " " * 40_000 + "(variant 2)"),
    "variants": ("", "(variant " * 110_000),
    "digits": ("", "(variant " + "1" * 1_000_000),
    "unclosed fences": (FENCE.format("reference") * 30_000, SKY),
    "beginnings of fences": ("<reference-" * 90_000, SKY),
    "closings": (FENCE.format("candidate") + "\n</candidate-abcdef01>" * 45_000, SKY),
    "references": ((FENCE.format("reference") + POINT + "\n</reference-abcdef01>\n\n") * 6_000, SKY),
    "candidates": ((FENCE.format("candidate") + "x\n</candidate-abcdef01>\n\n") * 18_000, SKY),
    "a long line": (FENCE.format("candidate") + "- " + "A" * 1_000_000 + "\n</candidate-abcdef01>", SKY),
    "points": ("", f"{POINT} " * 10_000),
    "nearly points": ("", f"{POINT[:-1]} " * 10_000 + SKY),
    "numbers": ("1. a\n" * 200_000, SKY),
    "lists of questions": ("", f"{bank.LIST} {bank.GO_LIVE} " * 38_000),
    "injections": (standins.INJECTION * 17_000 + POINT, SKY),
    "no spaces": ("", "天空为什么是蓝色的" * 110_000),
    "characters that become many": ("", "\ufdfa" * 300_000),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_text_costs_time_in_proportion(kind):
    system, prompt = LONG[kind]
    spent = []
    for _ in range(3):  # about 30 ms; one that is quadratic takes seconds
        matching._sentences.cache_clear()
        began = time.thread_time()
        assert says(prompt, system).strip()
        spent.append(time.thread_time() - began)
        if spent[-1] < 0.1:
            break
    assert min(spent) < 0.25


def test_the_question_is_found_and_merged_in_a_long_text():
    for filling in ("lorem ipsum dolor " * 55_000, " " * 300_000, "```\n" * 75_000, "(" * 300_000):
        for prompt in (f"{filling}\n{SKY}", f"{SKY}\n{filling}"):
            assert bank.match(prompt) == BY_ID["sky-blue"]
            assert bank.points_in(BY_ID["sky-blue"], says(f"{POINT}\n{prompt}")) == [BY_ID["sky-blue"].points[0]]
    assert says(SKY + " " * 40_000 + "(variant 2)") == says(f"{SKY} (variant 2)")


def test_the_tables_are_in_order():
    assert {asking.question for asking in matching.ASKINGS} == set(BY_ID)
    for question in offline.questions(2):
        assert bank.match(question.prompt).id == re.sub(r"-2$", "", question.id)
    for asking in matching.ASKINGS:
        assert len(asking.needs) >= 2
        assert not asking.may & frozenset().union(*asking.needs)
