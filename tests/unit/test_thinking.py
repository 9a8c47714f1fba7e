"""What a model thinks aloud is kept out of its answer, however it is marked and wherever the pieces are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import moa_helpers as moa
from moa_helpers.catalogue import find
from moa_helpers.vendors.arriving import Arriving
from moa_helpers.vendors.requests import Chunk, Malformed
from moa_helpers.vendors.thinking import Splitter, split, told_apart
from tests.support.events import collect
from tests.support.replies import reply
from tests.support.scripts import HAIKU, LUNA, SMALL, answers, breaks_off, hangs

GPT = "<|channel|>"
THOUGHT = [  # a text, its thinking, its answer
    ("<think>Maybe 4, maybe 5.</think>\n\nIt is 4.", "Maybe 4, maybe 5.", "It is 4."),
    ("\n <think>\nHm.\n</think>\nIt is 4.", "Hm.", "It is 4."),
    ("<THINK>Hm.</THINK>It is 4.", "Hm.", "It is 4."),
    ("<thinking>Hm.</thinking> It is 4.", "Hm.", "It is 4."),
    ('<reasoning effort="high">Hm.</reasoning >It is 4.', "Hm.", "It is 4."),
    ("[THINK]Hm.[/THINK]It is 4.", "Hm.", "It is 4."),
    ("\u25c1think\u25b7Hm.\u25c1/think\u25b7It is 4.", "Hm.", "It is 4."),
    ("<think>One.</think>\n<think>Two.</think>\n\nIt is 4.", "One.\n\nTwo.", "It is 4."),
    ("<think>a <think>b</think> c</think>It is 4.", "a <think>b</think> c", "It is 4."),
    ("<thinking>Is <think> right?</thinking>It is 4.", "Is <think> right?", "It is 4."),
    ("<think>They write `</think>`, I write 4.</think>It is 4.", "They write `</think>`, I write 4.", "It is 4."),
    ("<think>```py\nx = 1\n</think>\n\n```py\nx = 4\n```", "```py\nx = 1", "```py\nx = 4\n```"),
    ('<think>He said "no".</think>"It is 4."', 'He said "no".', '"It is 4."'),
    ("<think>A tag of another name.</thinking>It is 4.", "A tag of another name.", "It is 4."),
    ("<think>\n\n</think>\n\nIt is 4.", "", "It is 4."),
    ("<think/>It is 4.", "", "It is 4."),
    ("Maybe 4, maybe 5.</think>It is 4.", "Maybe 4, maybe 5.", "It is 4."),
    ("Is it 4 or 5?\n</think>\n\nit is 4.", "Is it 4 or 5?", "it is 4."),
    ("so it is four</think>four", "so it is four", "four"),
    ("Let me see. </think> It is 4.", "Let me see.", "It is 4."),
    ("Hm.\n</think>\n</think>\nIt is 4.", "Hm.", "It is 4."),
    ("</think>\n\nIt is 4.", "", "It is 4."),
    ("<think> is it 4, and</think>It is 4.", "is it 4, and", "It is 4."),
    ("<think>`a` or ```.\n</think>\n```py\nx\n```", "`a` or ```.", "```py\nx\n```"),
    ("<think>\n```py\nx = 1\n</think>\n\nSo:\n```\nx\n```", "```py\nx = 1", "So:\n```\nx\n```"),
    ("<think>It's a `</think>It is `4`.", "It's a `", "It is `4`."),
    ("What is </think>? No.\n</think>\nIt is 4.", "What is </think>? No.", "It is 4."),
    ("<seed:think>Hm.</seed:think>It is 4.", "Hm.", "It is 4."),
    ("<|START_THINKING|>Hm.<|END_THINKING|>It is 4.", "Hm.", "It is 4."),
    ("<|channel>thought\nHm.<channel|>It is 4.", "Hm.", "It is 4."),
    (f"{GPT}analysis<|message|>Hm.<|end|><|start|>assistant{GPT}final<|message|>It is 4.", "Hm.", "It is 4."),
    (f"<|start|>assistant{GPT}analysis<|message|>Hm. Hm", "Hm. Hm", ""),
    (f"{GPT}final<|message|>It is 4.", "", "It is 4."),
    ("analysisHm.assistantfinalIt is 4.", "Hm.", "It is 4."),
    ("<think>Cut off at", "Cut off at", ""),
    ("<think>All of it.</think>\n", "All of it.", ""),
    ("All of it.\n</think>", "All of it.", ""),
]
ANSWERS = [  # texts in which no tag counts
    "The tag </think> ends it.",
    "A thought stands between <think> and </think>.",
    "It ends with </think>, which is a tag; or with </think>",
    "Use `<think>` first and `</think>` last.\nThat is all.",
    "```\n<think>Hm.</think>\n```\nIt is 4.",
    "~~~xml\nHm.\n</think>\n~~~\nIt is 4.",
    '"</think>" is what it waits for.',
    "\u201c<think>\u201d opens it. Close it (</think>) and answer.",
    "<think> is a tag.",
    "<think> and </think> are tags.",
    "</think> closes a thought.",
    "Use the **</think>** tag, or *</think>*.",
    "1. <think>\n2. </think>\n",
    "| <think> | </think> |\n|---|---|\n",
    "analysis of this: it is 4.",
    "In the midst: <think>Hm.</think> It is 4.",
    "<thinkers> and <b>others</b>: 1 < 2, [1], a <- b.",
    "[THINKING] is no tag. <think",
    "  It is 4.\n\n",
    "",
]
FRAGMENTS = [
    "<think>",
    "</think>",
    "<",
    "think",
    "</",
    ">",
    "`",
    "```\n",
    "\n",
    " ",
    "is",
    "It is 4.",
    '"',
    "(",
    "[THINK]",
]
FRAGMENTS += [
    "[/THINK]",
    "<Reasoning a='b'>",
    "</reasoning>",
    "<thinking/>",
    "\ud83d",
    "\ude00",
    "\u25c1think\u25b7",
    "```py\n",
    "**",
    "<|channel|>analysis<|message|>",
    "<|start|>assistant<|channel|>final<|message|>",
    "analysisHm",
    "<|END_THINKING|>",
]


@pytest.mark.parametrize(("text", "thinking", "answer"), THOUGHT)
def test_thinking_is_told_from_the_answer(text, thinking, answer):
    assert split(text) == (thinking, answer)


@pytest.mark.parametrize("text", ANSWERS)
def test_a_tag_in_code_in_quotes_or_in_a_sentence_stays(text):
    assert split(text) == ("", text)


def passed_on(pieces):
    """What a listener has read at the end, after all voids."""
    splitter, heard = Splitter(), ""
    for number, piece in enumerate(pieces, 1):
        for ready in splitter.add(piece, last=number == len(pieces)):
            heard = "" if ready is None else heard + ready
    return heard


def cut(text, places):
    at = sorted({place % (len(text) + 1) for place in places})
    return [text[begin:end] for begin, end in zip([0, *at], [*at, len(text)], strict=True)]


known = some.sampled_from([text for text, _, _ in THOUGHT] + ANSWERS)
texts = known | some.lists(some.sampled_from(FRAGMENTS) | known, max_size=12).map("".join) | some.text(max_size=30)


@settings(max_examples=60, deadline=None)
@given(texts, some.lists(some.integers(0, 300), max_size=8))
def test_where_a_text_is_cut_changes_nothing(text, places):
    assert passed_on(cut(text, places)) == passed_on(list(text) or [""]) == split(text)[1]


def shape(number, thinking, answer):
    """The same thinking and answer in each of the four shapes, as texts to cut: of what kind, and the text."""
    return [
        [("thinking", thinking), ("text", answer)],
        [("text", f"<think>{thinking}</think>\n\n{answer}")],
        [("text", f"{thinking}\n</think>\n\n{answer}")],
        [("parts", thinking), ("text", answer)],
    ][number]


plain = some.text("abc 123.,\n\u00e4\u4e2d!?'-", min_size=1, max_size=40).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(some.integers(0, 3), plain, plain, some.lists(some.integers(0, 120), max_size=6))
def test_all_four_shapes_give_the_same_thinking_and_answer(number, thinking, answer, places):
    now = Arriving(find("vllm:m"))
    heard = ""
    for kind, text in shape(number, thinking, answer):
        for piece in cut(text, places):
            told = told_apart([{"type": "thinking", "thinking": piece}]) if kind == "parts" else ("", piece)
            chunk = Chunk(text=piece) if kind == "text" else Chunk(text=told[0], thinking=told[1])
            for ready in now.take(chunk):
                heard = "" if ready is None else heard + ready
    for ready in now.take(Chunk(finish_reason="stop")):
        heard = "" if ready is None else heard + ready
    assert (now.thinking(), now.text(), heard, now.problem()) == (thinking, answer, answer, None)


def test_no_more_is_held_back_than_may_yet_be_a_tag():
    splitter = Splitter()
    said = [splitter.add(piece) for piece in ("\n", "It is", " 4 <", " 5 </", "p> </th", "ink", "> of ", "it.")]
    assert said == [[], ["\nIt is"], [" 4 <"], [" 5 </"], ["p> </th"], ["ink"], ["> of "], ["it."]]
    splitter = Splitter()
    said = [splitter.add(piece) for piece in ("<thi", "nk>Hm. ", "Yes", ".</thi", "nk>", "\n", "It", " is 4.")]
    assert said == [[]] * 6 + [["It"], [" is 4."]]
    splitter = Splitter()
    said = [splitter.add(piece) for piece in ("Use `", "</think>", "` and", " <", "b> here.")]
    assert said == [["Use `"], [], ["</think>` and"], [" <"], ["b> here."]]


def test_where_the_opening_tag_is_missing_what_was_passed_on_is_void():
    splitter = Splitter()
    said = [splitter.add(piece) for piece in ("Maybe 5.", "</think>", "It is 4.")]
    assert said == [["Maybe 5."], [], [None, "It is 4."]]


def test_an_odd_text_takes_no_longer_than_its_length():
    """Of many tags none is compared with all others: this test would take minutes."""
    for odd in ("</think> a ", "<think><think></think>", "`<think>", "<", "```\n<think>", "\n"):
        text = odd * (200_000 // len(odd))
        assert passed_on([text[at : at + 5000] for at in range(0, len(text), 5000)]) == split(text)[1]


@pytest.mark.parametrize("content", [5, True, 2.5, [5], {"type": "text", "text": 5}, [[[[[[[[[["deep"]]]]]]]]]]])
def test_a_content_without_text_is_malformed(content):
    with pytest.raises(Malformed):
        told_apart(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ("", "")),
        ("a", ("a", "")),
        ([{"type": "text", "text": "a"}, {"text": "b"}, "c", None], ("abc", "")),
        ({"type": "text", "text": {"value": "a", "annotations": []}}, ("a", "")),
        ([{"type": "output_text", "text": "a"}, {"type": "image_url", "image_url": {}}], ("a", "")),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}],
            ("a", "t"),
        ),
        ([{"type": "reasoning.summary", "summary": "t"}, {"thought": True, "text": "u"}], ("", "tu")),
    ],
)
def test_a_content_may_be_nested(content, told):
    assert told_apart(content) == told


def test_the_first_token_is_the_first_of_the_answer(script, run, question):
    script[LUNA] = answers("<think>One two three</think> Four.", after=1, per_piece=1)
    script[HAIKU] = answers("One two three.</think> Four.", after=1, per_piece=1)
    script[SMALL] = answers("<think>One two three.", after=1, per_piece=1)
    replies = run(moa.fan_out([LUNA, HAIKU, SMALL], question))
    assert [one.ttft for one in replies] == [pytest.approx(4), pytest.approx(4), None]
    assert [one.text for one in replies] == ["Four.", "Four.", ""]
    assert replies[2].failure.kind == "empty"


def test_an_attempt_that_was_stopped_or_was_late_keeps_its_thinking(script, run, question):
    script[LUNA] = hangs("<think>Maybe 4")
    script[HAIKU] = breaks_off("<think>Maybe 5</think>It")
    late, cut = run(moa.fan_out([LUNA, HAIKU], question, timeout=5, retries=0))
    assert (late.failure.kind, late.text, late.thinking) == ("timeout", "", "Maybe 4")
    assert (cut.failure.kind, cut.text, cut.thinking) == ("incomplete", "It", "Maybe 5")
    (stopped, _) = run(moa.fan_out([LUNA, SMALL], question, quorum=1, grace=2, timeout=30))
    assert (stopped.abandoned, stopped.text, stopped.thinking) == (True, "", "Maybe 4")


@pytest.mark.parametrize("text", ["<think>Hm, hm.</think>It is 4.", "Hm, hm.</think>It is 4."])
def test_a_second_request_thinks_for_itself_and_listeners_read_its_answer(text, script, run, question):
    script[LUNA], script[HAIKU] = hangs("Let me see, <think> it", after=1), answers(text, after=1)
    options = {"hedge_after": 2, "hedge_with": HAIKU, "timeout": 30}
    events, answer = run(collect(question, [LUNA], SMALL, **options))
    heard = ""
    for event in events:
        if isinstance(event, moa.ProposerDelta):
            heard += event.text
        elif isinstance(event, moa.Retrying) and event.index == 0:
            heard = ""
    (one,) = answer.layers[0]
    assert (one.text, one.thinking, one.by_hedge, heard) == ("It is 4.", "Hm, hm.", True, "It is 4.")
    assert moa.from_json(moa.to_json(one)) == one


def test_a_card_folds_the_thinking_and_escapes_it():
    one = reply("It is 4.", thinking="<img src=x> Hm.", thinking_tokens=12, warnings=("The prompt was cut.",))
    page = one._repr_html_()
    assert page.count("<details") == 1
    assert "&lt;img src=x&gt; Hm." in page
    assert page.index("Hm.") < page.index("</details>") < page.index("It is 4.")
    for shown in (str(one), one._repr_markdown_().replace("\\", "")):
        assert "thought first: 15 characters, 12 tokens, in .thinking" in shown
        assert "Hm." not in shown
        assert "The prompt was cut." in shown
    assert "<details" not in reply("It is 4.")._repr_html_()
    assert "thought" not in str(reply("It is 4."))
