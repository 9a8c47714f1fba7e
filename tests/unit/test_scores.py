"""The scores: what each reads out of an answer, however it is written, and what it says of it."""

import asyncio
import re
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import moa_helpers as moa
from moa_helpers import offline

scores = moa.scores
CODE = "def add(a, b):\n    return a + b"
TESTS = "assert add(2, 3) == 5"


def question(reference=None, name="q"):
    return moa.Question(name, "?", reference)


def read(score, answer, reference):
    found = score(question(reference), answer)
    return found.value, found.read


def number(answer, reference="0", **options):
    return read(scores.number(**options), answer, reference)


# Numbers


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        *(("1,234,567.8", 1234567.8), ("1.234.567", 1234567), ("1.234,5", 1234.5), ("1 234 567", 1234567)),
        *(("1'234.5", 1234.5), ("1’234", 1234), ("12,34,567", 1234567), ("1_234", 1234), ("1\u202f234", 1234)),
        *(("3,14", 3.14), ("0,500", 0.5), ("1.5", 1.5), (".5", 0.5), ("1,234", 1234), ("1,2,3", 3), ("1,2345", 1.2345)),
        *(("-5", -5), ("−5 °C", -5), ("minus 5", -5), ("+7", 7), ("-$5", -5), ("10-12", 12), ("$-5", -5), ("US$5", 5)),
        *(
            ("3/4", 0.75),
            (r"\frac{3}{4}", 0.75),
            (r"-\dfrac{1}{2}", -0.5),
            ("1 1/2", 1.5),
            ("2½", 2.5),
            ("3 / 4", 0.75),
        ),
        *(
            ("1.5e6", 1.5e6),
            ("2E-3", 0.002),
            (r"1.5 \times 10^{6}", 1.5e6),
            ("2·10⁻³", 0.002),
            ("10⁶", 1e6),
            ("2^10", 1024),
        ),
        *(
            ("3 million people", 3e6),
            ("2.5 billion", 2.5e9),
            ("12 m²", 12),
            ("12 m^2", 12),
            ("5 s^-1", 5),
            ("5km/h", 5),
        ),
        *((r"\(\boxed{1{,}234}\)", 1234), (r"\boxed{\text{42 km}}", 42), (r"$12\,345$", 12345), ("**12**", 12)),
        *(("12 of 15 is 80 %", 80), ("The answer is 12, not 13.", 12), ("Answer: 3 + 4 = 7. Or 8?", 7), ("#### 5", 5)),
        *(("x = 5 and the final answer is: **9** (see step 3)", 9), ("Answer (in km): 4\nfrom 5", 4), ("３", 3)),
        *(
            ("<think>Is it 4? The answer is 4.</think>\n5", 5),
            ("[THINK]8[/THINK] 6", 6),
            ("the answer is not 5 but 6", 6),
        ),
        *(('{"answer": 12, "unit": 5}', 12), ("<answer>12</answer> 5", 12), ("Answer:\n```\n12\n```", 12)),
        *(("H2O boils at 100 °C", 100), ("7, says GPT-4", 7), ("CO₂: 3", 3)),
    ],
)
def test_a_number_is_read(answer, value):
    assert number(answer, str(value) if value != 0.002 else "0.002")[0] == 1, number(answer)
    assert number(answer, "77777")[0] == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "twelve",
        "H2O",
        "GPT-4",
        "<think>5",
        "9" * 5000,
        "1e999",
        "10^999",
        "5/0",
        "m²",
        "0^-1",
        "9" * 5000 + " 1/2x",
    ],
)
def test_no_number_is_not_a_wrong_one(answer):
    assert number(answer)[0] is None or number(answer) == (0, "1/2")


def test_a_percentage_is_a_share_too_but_a_number_is_not_a_hundredth():
    for answer, reference, right in (
        ("16 %", "16 %", 1),
        ("16", "16 %", 1),
        ("0.16", "16 %", 1),
        ("16 %", "0.16", 1),
        ("16 percent", "16", 1),
        ("0.16 %", "16 %", 0),
        ("1600", "16", 0),
        ("0.16", "16", 0),
    ):
        assert number(answer, reference)[0] == right, (answer, reference)


def test_a_tolerance_is_in_the_unit_of_the_number():
    assert [number("9.96", "10", tolerance=by)[0] for by in (0, 0.03, 0.05)] == [0, 0, 1]
    assert number("0.1 + 0.2 = 0.30000000000000004", "0.3")[0] == 1
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="tolerance is"):
            scores.number(tolerance=wrong)


WAYS = [
    *(
        "{}",
        "It is {} km.",
        r"So \boxed{{{}}}",
        r"\[ x = {}\text{{ cm}} \]",
        "**Answer:** {}",
        "#### {}",
        "Answer: **{}**",
    ),
    *(
        "First 12, then 15, and at last {}",
        "The answer is {} kg, since 3 × 4 = 12.",
        "Well.\n\n{}\n",
        "(about {})",
        "`{}`",
    ),
    *("<think>7? No: the answer is 8.</think>{}", "5 + 6 is not it. The final answer is ${}$. I had 9 before.", "{} €"),
]
SEPARATORS = [",", "'", "’", "_", "\u00a0", "\u2009", "{,}", r"\,", ""]


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.integers(-(10**9), 10**9),
    st.integers(0, 3),
    st.sampled_from(SEPARATORS),
    st.sampled_from(WAYS),
    st.sampled_from("-−"),
)
@example(-1234567, 2, "'", WAYS[0], "−")
def test_a_number_is_read_however_it_is_written(whole, decimals, separator, way, minus):
    value = whole / 10**decimals
    written = way.format(f"{value:,.{decimals}f}".replace(",", separator).replace("-", minus))
    assert number(written, f"{value:.{decimals}f}")[0] == 1, written


ODD = (
    st.text(alphabet="0123456789.,'/^{}\\-+eE%()[]×*_ \n\u00a0½⁶abboxedfrac<think>answer:is#", max_size=200) | st.text()
)


@settings(max_examples=60, deadline=None, database=None)
@given(ODD)
def test_no_answer_breaks_an_extractor(text):
    for score in (scores.number(), scores.exact, scores.contains, scores.choice("ABCD"), scores.pattern(r"(\w+)\W*$")):
        found = score(question("B 12"), text)
        assert found.value in (None, 0.0, 1.0)
        assert found.value is not None or found.read == "", "what was not read is not shown as read"


def test_a_huge_answer_is_read_in_time():
    for part in ("1,22,", "\\boxed{", "answer: ", "1 234 ", "(", "**", "1/", "<think>", "9", "A) ", "\n", " ", "A\n"):
        huge, began = part * 20_000, time.process_time()
        for score in (scores.number(), scores.exact, scores.choice("ABCD")):
            score(question("B 12"), huge)
        assert time.process_time() - began < 5, part


# Texts and letters


def test_exact():
    for answer, found in (
        ("Paris.", (1, "Paris.")),
        ("**paris**", (1, "**paris**")),
        ("It is in France.\nThe answer is Paris. It lies on the Seine.", (1, "Paris")),
        ("Answer: “Paris”", (1, "“Paris”")),
        ("It is a city.\n\n**Final answer**\n\nParis\n", (1, "Paris")),
        ("Well.\n## Answer\nParis", (1, "Paris")),
        ('Here:\n{"why": "so", "answer": "Paris"}', (1, 'Paris"}')),
        ("Well.\n<answer>Paris</answer>\nThat is it.", (1, "Paris")),
        (r"So $\boxed{\text{Paris}}$", (1, r"\text{Paris}")),
        ("<think>The answer is Rome.</think>Paris", (1, "Paris")),
        ("Answer: Rome\nNo. Answer: Paris", (1, "Paris")),
        ("Answer: Paris, Texas", (0, "Paris, Texas")),
        ("Rome", (0, "Rome")),
        ("It may be Paris.\nOr it may be Rome.", (None, "")),
        ("", (None, "")),
        ("<think>Paris", (None, "")),
        (r"\boxed{}", (None, "")),
    ):
        assert read(scores.exact, answer, "Paris") == found, answer


def test_contains():
    for answer, value in (
        ("It is 12 km, or so.", 1),
        ("**12**  KM", 1),
        ("112 km", 0),
        ("12 kms", 0),
        ("<think>12 km", 0),
    ):
        assert read(scores.contains, answer, "12 km")[0] == value, answer
    assert read(scores.contains, "What I found is that it is 12 km from here to there.", "12 km")[1].count("12 km") == 1


def test_pattern():
    day = scores.pattern(r"\d{4}-\d\d-\d\d")
    assert read(day, "From 2024-02-15 to 2024-03-16.", "2024-03-16") == (1, "2024-03-16")
    assert read(day, "16 March", "2024-03-16") == (None, "")
    assert read(scores.pattern(r"ANSWER=(\w+)"), "ANSWER=No", "no") == (1, "No")
    assert read(day, "2024-03-16" + " " * 10_000, "2024-03-16") == (None, ""), "none tries for ever"
    with pytest.raises(re.error):
        scores.pattern("(")


def test_choice():
    b = "B|b.|(B)|**B**|B) Paris|Option B|The answer is B because A is wrong.|Answer: (b)|Answer: B) Paris|I take B."
    b += "|{'answer': 'B'}|" + '{"answer": "b"}' + r"|<answer>B</answer>|\boxed{B}|\boxed{\text{B}}"
    b += "|A bird can fly, so B.|The correct option is **B**.|<think>A, or C</think>B"
    for answer in (
        *b.split("|"),
        "The answer is Paris (B).",
        "A) Rome\nB) Paris\nAnswer: B",
        "The best:\n**B.** Paris",
    ):
        assert read(scores.choice("ABCD"), answer, "B) Paris") == (1, "B"), answer
    for answer in ("A or B", "Paris", "", "A) Rome\nB) Paris", "the answer is a bird", "Both, E", "<think>B"):
        assert read(scores.choice("ABCD"), answer, "B") == (None, ""), answer
    assert read(scores.choice("abc"), "Answer: C", "b") == (0, "C")
    for wrong in ("", "A", "AA", "A1"):
        with pytest.raises(ValueError, match="such as 'ABCD'"):
            scores.choice(wrong)


def test_a_question_without_a_reference_cannot_be_scored():
    for score in (scores.exact, scores.contains, scores.number(), scores.choice("AB"), scores.pattern(".")):
        with pytest.raises(ValueError, match=r"'q' has no reference"):
            score(question(), "5")
    for score, none in ((scores.number(), "no number"), (scores.choice("AB"), "none of the letters AB")):
        with pytest.raises(ValueError, match=f"reference of 'q' has {none}"):
            score(question("what?"), "5")


def test_the_stand_ins_answers_are_read_as_what_they_are():
    """Each wording of each point of the questions that can be checked, by the score for its kind."""
    kinds = {"number": scores.number(), "choice": scores.choice("ABCD")}
    for asked in offline.questions(checkable=True):
        for point in asked.points:
            for wording in point.wordings:
                text = f"Working. {wording}\n\n(Offline stand-in, written for this lesson.)"
                found = kinds.get(asked.kind, scores.exact)(asked, text)
                assert found.value == (1 if point.true else 0) or (
                    found.value is None and "answer is" not in wording
                ), wording
                opened = "**" not in wording and "boxed" not in wording and "The answer is" not in wording
                assert (found.value is None) == opened, wording


# Code

limited = pytest.mark.skipif(sys.platform != "linux", reason="the limits need Linux")


def ran(code, tests=TESTS, fence="python", **options):
    score = scores.runs(on_this_machine=True, **options)
    found = asyncio.run(score(question(tests), f"Here:\n```{fence}\n{code}\n```\nThat is it."))
    return found.value, found.read


def test_code_is_run_only_by_whoever_says_so():
    for options in ({}, {"on_this_machine": 1}):
        with pytest.raises(ValueError, match=r"runs\(on_this_machine=True\)"):
            scores.runs(**options)
    with pytest.raises(ValueError, match="seconds is 0"):
        scores.runs(on_this_machine=True, seconds=0)


def test_where_there_are_no_limits_no_code_is_run(monkeypatch):
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(OSError, match="needs Linux"):
            scores.runs(on_this_machine=True)


@limited
def test_code_against_its_tests():
    assert ran(CODE) == (1, "passed")
    assert ran(CODE, fence="") == (1, "passed")
    assert ran(CODE + "\nprint('well', end='')") == (1, "passed"), "whatever it says itself"
    assert ran("def add(a, b): return a - b") == (0, "AssertionError")
    assert ran("def add(a, b: return")[1].startswith("SyntaxError")
    assert ran("import sys\nsys.exit(0)") == (0, "ended before the tests did"), "no way around them"
    assert ran(CODE + "\nif __name__ == '__main__':\n    input()") == (1, "passed")
    score = scores.runs(on_this_machine=True)
    assert asyncio.run(score(question(TESTS), "I would add them.")).value is None


@limited
def test_code_has_limits(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "dummy-openai")
    assert ran("while True: pass", seconds=0.3) == (0, "not done after 0.3 s")
    assert ran("import time\ntime.sleep(60)", seconds=0.3) == (0, "not done after 0.3 s")
    assert ran("x = ' ' * 10**9", memory_mb=256) == (0, "MemoryError")
    assert ran("open('big', 'w').write('x' * 10**7)")[1] == "OSError: [Errno 27] File too large"
    assert ran("while True: print('x' * 10**5)")[0] == 0
    for reach in (
        "socket.create_connection(('127.0.0.1', 9))",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork()",
    ):
        value, said = ran(f"import os, socket, subprocess\n{reach}")
        assert (value, said.partition(":")[0]) == (0, "PermissionError"), reach
    assert ran("import os\ndef add(a, b): return len([n for n in os.environ if 'KEY' in n]) + 5") == (1, "passed")
    assert ran("import os\ndef add(a, b): return 5 + len(os.listdir())") == (1, "passed"), "an empty folder of its own"
