"""Which number a ranker's reply names: small models say it in many ways, and what is unclear is nobody's win."""

import time

import pytest

import moa_helpers as moa
from moa_helpers.prompts import chosen, ranker_system, reminder
from moa_helpers.vendors.requests import Request
from tests.support.replies import A, B
from tests.support.scripts import answers

SECOND = """
2 | 2. | **2** | #2 | (2) | [[2]] | `2` | > 2 | - 2 | $2$ | 2) | 2️⃣ | \\boxed{2} | <answer>2</answer>
{"best": "2"} | 2\\n2 | Answer: 2 | Final answer: **2** | Answer 2. | No. 2 | Best answer: #2
Best answer:\\n2 | My choice:\\n\\n**Candidate 2** | I'd pick 2. | The best answer is number 2.
Candidate 2 is better | Response 2 is the best response overall. | The winner is candidate #2!
I prefer answer 2 because it is complete. | I would go with option 2 here. | 2 wins over 1
Candidate 2 is better than candidate 1. | Candidate 2 is better because candidate 1 does not mention it.
Both are correct. However, answer 2 is better, with more detail. | 2: it is more complete than answer 1.
2. Because it covers more. | 2 because it is complete | 2\\n\\nBecause answer 1 is wrong.
Answer 2: it is more complete. | Final answer: 2\\n\\nI hope this helps! | Antwort: 2
Die beste Antwort ist Nummer 2. | 答案：2 | Best: candidate 2 (more complete)
2, once more: 2 | 2, since it is complete | 2 over 1 | 2 rather than answer 1 | 2, not 1. | 2 (the more complete one)
2 is more complete | 2 is more complete and accurate. | Answer 2 is correct. | Answer 2 is more accurate than answer 1.
The second answer is better | The second one. | **Second** | Second answer | The 2nd answer wins. | Candidate two
Number two. | I prefer the second. | I choose the second answer. | The second answer is more complete than the first.
Answer 2 gives a clearer explanation. | Candidate 2 answers the question best. | {"answer": 2, "why": "more complete"}
Both answers are correct, but 2 is more complete. | Answer 1 is wrong, so 2. | 2<|im_end|> | 2 - it is clearer
<s>2</s> | Two. | 02 | 2. It names 3 causes. | ２
Which one is better? 2 | My first choice is answer 2. | Of the two, the second one is better.
<answer>2</answer> because it is so | The final answer is $\\boxed{2}$. I hope it is correct.
After comparing answers 1 and 2, answer 2 is better. | The best answer is 2, as answer 1 is too short.
I compared both.\\nI think the better one is number 2, since it covers more.\\nHope that helps!
1. Accuracy: both are right.\\n2. Detail: one has more.\\n\\nTherefore candidate 2 is better.
Steps:\\n1. A is short.\\n2. B is long.\\n3. B is better.\\nChoice: 2
Answer 1:\\nShort.\\nAnswer 2:\\nLong.\\n\\n2 | Answer 1: Short.\\nAnswer 2: Long.\\n2
### Candidate 1\\nShort.\\n### Candidate 2\\nLong.\\n\\n**Best: 2** | <think>1 is nice</think>2
Candidate 1 wins.\\n</think>\\n\\n2 | [THINK]1[/THINK]\\n2 | <thinking>1</thinking> 2 | a</think>1</think>2
"""
NONE = """
 | \\n | 3 | 0 | 12 | -7 | 1.5 | 2,5 | 1\\n2 | 1 or 2 | 2 > 1 | 1 > 2 | 999999999999 | Both are good.
There are 2 apples. | Answer 1: | The capital of France is Paris. | I would not choose 1. | Neither 1 nor 2.
Candidate 1 is not better than candidate 2. | If candidate 1 is better, I cannot tell. | Candidate 1 is wrong.
Candidate 1: 7\\nCandidate 2: 9 | Score: 8/10 | 1. Accuracy: both are right. | 1. **Accuracy**: both.
1. Short.\\n2. Long. | Answer 1: Short.\\nAnswer 2: Long. | Candidate 1: 7 points. Candidate 2: 9 points.
<think>1 or 2 | I think it is 1</think> | Accuracy: 2\\nDetail: 1
1. First, I compare both. | 1. The sky is blue. | 1) Accuracy is equal. | 1. Both answers are correct.
Answer 1: The sky is blue because of scattering. | ### Candidate 1\\nThe sky is blue. | Candidate 1 says it best.
Answer 2 is wrong. | Answer 2 is less complete. | Answer 2 lacks detail. | Avoid 2 | I reject answer 2. | 2? | 2+2
Is answer 2 better? | The 2 answers are right. | It takes 2 seconds. | In the second place, both are right. | Step 2
Second, both are complete. | A second look shows that both are right. | One of them is better. | No one is better.
Score: 2 | 2 reasons: | Two answers were given. | Answer 1 is right. Answer 2 is right. | Answers 1 and 2 are correct.
Ranking: 2, 1 | 1. 2 | 1. Yes, 2. no | Which is better, answer 1 or 2?
"""

DRAWS = """
0 | 0. | Answer: 0 (tie) | It is a tie, so 0. | 0. Both are equal. | 0, as 1 and 2 say the same | Tie | It's a draw.
Neither is better, so 0. | Both answers 1 and 2 are equal, so 0
"""


def said(table):
    return [
        each.strip(" ").replace("\\n", "\n") for line in table.strip("\n").split("\n") for each in line.split(" | ")
    ]


@pytest.mark.parametrize("text", said(SECOND))
def test_a_verdict_is_read(text):
    assert chosen(text, 2) == 2


@pytest.mark.parametrize("text", said(NONE))
def test_what_is_no_verdict_is_none(text):
    assert chosen(text, 2) is None


def test_both_places_are_read_alike():
    """Else the reader itself would be biased."""
    swap = str.maketrans("12", "21")
    lists = ("1.", "Steps", "Answer 1", "### Candidate 1")  # which begin with 1 wherever the verdict is
    for text in said(SECOND):
        if not text.startswith(lists) and "2" in text and "econd" not in text:
            assert chosen(text.translate(swap), 2) == 1, text


def test_a_draw_counts_only_where_it_is_offered():
    for text in said(DRAWS):
        assert (chosen(text, 2), chosen(text, 2, draw=True)) == (None, 0), text
    assert chosen("Both are good.", 2, draw=True) is None


def test_among_many():
    assert chosen("1. Paris\n2. Lyon\n3. Nice\n\nAnswer: 3", 3) == 3
    assert chosen("Answer: 12", 12) == 12
    assert chosen("Answer: 13", 12) is None


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        " \n",
        "1",
        "1 ",
        "1\n",
        "2,",
        "#",
        ".",
        "<",
        "<think>",
        "</think>",
        "a:",
        "than ",
        "2 is ",
        "best is ",
        "\u2028",
    ],
)
def test_a_long_reply_takes_no_longer_than_it_must(piece):
    started = time.thread_time()
    chosen(piece * (1_000_000 // len(piece)), 2)
    chosen("1. " + piece * (1_000_000 // len(piece)) + "\n2", 2)
    assert time.thread_time() - started < 2, "it grows with the square of the length"


def test_the_task_is_said_again_to_a_model_on_this_machine_alone():
    request = Request(moa.find(A), "Why?", system=ranker_system(["Yes.", "No."]), reminder=reminder())
    assert request.messages[-1]["content"] == request.asked == "Why?"
    here = Request(moa.find(A), "Why?", system="Choose.", reminder=reminder(draw=True), here=True)
    assert here.messages == [{"role": "system", "content": "Choose."}, {"role": "user", "content": here.asked}]
    assert here.asked == f"Why?\n\n{reminder(draw=True)}"
    assert here.prompt == "Why?", "a comparison knows it by that"
    assert Request(moa.find(A), "Why?", here=True).asked == "Why?"


def test_rankers_and_judges_carry_the_reminder_and_others_none(script, run, question):
    script[B] = answers("1")
    run(moa.mixture_of_agents(question, [A, A], B, pick=True))
    assert [asked.request.reminder for asked in script.asked] == ["", "", reminder()]
    run(moa.mixture_of_agents(question, [A, A], B))
    assert {asked.request.reminder for asked in script.asked} == {""}
    run(moa.judge(question, "One.", "Two.", B))
    assert {asked.request.reminder for asked in script.asked} == {reminder(draw=True)}


def test_a_fence_that_the_aggregator_copies_is_taken_out(script, run, question):
    def copying(request):
        fence = request.system.partition("<")[2].partition(" ")[0]
        first = f'<{fence} number="1">\nBlue light\n</{fence}>\n\n'
        return f'{first}scatters <{fence} number="2" note="cut off">most</{fence}>.'

    script[B] = answers(copying, per_piece=0)
    answer = run(moa.mixture_of_agents(question, [A, A], B))
    assert answer.text == answer.aggregator.text == "Blue light\n\nscatters most."
    for kept in (
        '<reference-00000000 number="1">\nNot of this run.\n</reference-00000000>',
        "```html\n<p>Text.</p>\n```",
        "As the reference says, blue.",
    ):
        script[B] = answers(kept)
        assert run(moa.mixture_of_agents(question, [A, A], B)).text == kept
    script[B] = answers(lambda request: f"</{request.system.partition('<')[2].partition(' ')[0]}>")
    assert "reference-" in run(moa.mixture_of_agents(question, [A, A], B)).text, "there would be no answer left"
