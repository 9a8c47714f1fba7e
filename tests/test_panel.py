"""The live panel: what it shows of calls under way, ``watch``, and that a model's text stays text."""

import asyncio
import html.parser
import json
import random
import re
import time
import types
from functools import partial
from itertools import pairwise

import pytest
from aiohttp import web

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.calls import watched_by
from moa_helpers.ui import panel
from moa_helpers.ui.cards import dollars
from moa_helpers.ui.html import LONGEST_MARKDOWN, escaped, rendered

STREAM = {"content-type": "text/event-stream"}
TAGS = {"blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"}
TAGS |= {
    "details",
    "summary",
    "progress",
    "section",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
ATTRIBUTES = {"aria-label", "class", "dir", "max", "role", "start", "style", "tabindex", "value"}
HOSTILE = {
    "script": "Hello <script>alert('ran')</script> there",
    "image": "Look: <img src=x onerror=\"alert('ran')\"> and ![it](https://example.com/x.png)",
    "link": "[click](javascript:alert(1)), <javascript:alert(1)>, https://example.com [a]: javascript:alert(2)",
    "frame": "</div></section><iframe src=//example.com></iframe><style>*{display:none}</style><!-- gone",
    "attribute": "\" onmouseover=\"alert('ran')\" x='",
    "broken Markdown": '# **bold *and `code\n| a | b\n|--\n```js\nlet x = "</code></pre><b>";\n> - 1. ***',
    "fence": '```"><script>alert(1)</script>\ncode\n```',
    "maths": r"$$\href{javascript:alert(1)}{x}$$ and \(y\) and $5",
    "right to left": "\u202eabc\u2066 שלום עולם مرحبا",
    "control": "bell\x07 escape\x1b[31m null\x00 delete\x7f next\x85 return\r\nend",
    "long": "wort " * 20_000,
    "one long word": "w" * 100_000,
}


class Reader(html.parser.HTMLParser):
    """What a browser would find: tags, attributes, images' addresses, and the text."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.images, self.text, self.styles, self.open = set(), set(), [], "", "", []
        self.typeset, self._ignored = "", []  # what MathJax would change, and for each open tag whether it stays out
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.styles += " ".join(value or "" for name, value in attributes if name == "style")
        self.images += [value for name, value in attributes if name == "src"]
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)
            classes = (dict(attributes).get("class") or "").split()
            self._ignored.append("mathjax_ignore" in classes or self._ignored[-1:] == [True])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._ignored.pop()

    def handle_data(self, data):
        self.text += data
        self.typeset += "" if self._ignored[-1:] == [True] else data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def read(source):
    """Read HTML of ours, which has to be balanced and to have nothing that could act."""
    found = Reader(source)
    assert found.open == []
    assert found.tags <= TAGS, found.tags - TAGS
    assert found.attributes <= ATTRIBUTES, found.attributes - ATTRIBUTES
    assert "url(" not in found.styles
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", found.text)
    return found


def says(text, finish="stop"):
    """An answer of the recorder's with this text."""
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    shell = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    body = "".join(f"data: {json.dumps(shell | {'choices': [choice]})}\n\n" for choice in choices)

    async def answer(request, asked):
        return web.Response(body=body.encode(), headers=STREAM)

    return answer


async def fast(request, asked, lasting=1.5):
    """An answer of the recorder's in 1,000 pieces a second, for so many seconds or until the client has gone."""
    response = web.StreamResponse(headers=STREAM)
    await response.prepare(request)
    shell = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < lasting:
        if request.transport is None or request.transport.is_closing():
            return response
        due = int(passed * 1000) - sent
        choices = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]
        await response.write(f"data: {json.dumps(shell | {'choices': choices})}\n\n".encode() * due)
        sent += due
        await asyncio.sleep(0.005)
    choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    await response.write(f"data: {json.dumps(shell | {'choices': choices})}\n\n".encode())
    return response


async def until(condition):
    """Wait for a condition, but not for ever."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def watching(coroutine, condition, look):
    """Begin a coroutine, wait until the watched calls fulfil a condition, look at them, and stop it."""
    live = panel.Live()
    task = asyncio.create_task(coroutine, context=watched_by(live))
    try:
        await until(lambda: condition(live))
        return look(live), live
    finally:
        task.cancel()
        await asyncio.wait([task])


def states(*wanted):
    """Whether the watched calls are in these states, and those under way have reached the vendor.

    A call of Colab's httpx that is cancelled while it connects leaves its socket to the garbage collector.
    """
    sent = len([state for state in wanted if state in ("waiting", "writing")])
    return lambda live: [c.state for c in live.calls] == list(wanted) and offline.start().vendors.under_way == sent


def sections(source):
    return re.findall(r'<section class="moa-call" aria-label="([^"]*)"', source)


@pytest.fixture
def shown(monkeypatch):
    """As in a notebook: what ``display`` was given, first and as updates, each with its time."""
    found = []

    class Handle:
        def update(self, bundle, *, raw):
            assert raw
            found.append((time.perf_counter(), bundle))

    def display(bundle, *, raw, display_id):
        assert raw
        assert display_id
        assert not found, "one output, replaced in place"
        found.append((time.perf_counter(), bundle))
        return Handle()

    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: kernel)
    monkeypatch.setattr("IPython.display.display", display)
    return found


# What it shows


def test_a_call_that_has_ended_shows_what_the_vendor_counted(models, question, run):
    async def go():
        live = panel.Live()
        reply = await asyncio.create_task(moa.ask(models[0], question), context=watched_by(live))
        return live, reply

    live, reply = run(go())
    assert live.line() == f"1 of 1 calls ended · {reply.elapsed:.2f} s · {dollars(reply.cost_usd)} · offline stand-ins"
    source = live.html()
    assert sections(source) == [f"1. {models[0]}"]
    facts = f"answered in {reply.elapsed:.2f} s · {reply.output_tokens} tokens · {dollars(reply.cost_usd)}"
    assert facts in read(source).text
    assert live.replies == (reply,)


def test_a_call_under_way_shows_its_state_and_an_estimate(models, question, run):
    def look(live):
        return live.line(), read(live.html()).text

    with offline.fault("openai", "stalled_stream"):
        (line, text), live = run(
            watching(moa.ask(models[0], question), lambda live: states("writing")(live) and live.replies[0].text, look)
        )
    assert re.fullmatch(r"0 of 1 calls ended · 1 writing · [\d.]+ s · about \$0\.\d{6} · offline stand-ins", line)
    assert re.search(r"writing · [\d.]+ s · about \d+ tokens · about \$0\.0", text)
    assert live.replies[0].text[-80:] in text
    # Stopped: what the vendor had not said by then is unknown.
    assert "stopped after" in read(live.html()).text
    assert re.search(r" · (cost unknown|at least \$0\.\d{6}) · ", live.line()), live.line()


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        ({"kind": "hang"}, "waiting", "waiting for the first token · "),
        ({"kind": 429, "retry_after": 30}, "pausing", "pausing before a retry (rate_limit) · "),
    ],
)
def test_what_a_call_waits_for(fault, state, words, models, question, run):
    with offline.fault("openai", **fault):
        text, _ = run(watching(moa.ask(models[0], question), states(state), lambda live: read(live.html()).text))
    assert words in text


def test_a_call_without_a_place_is_queued(models, question, run):
    with offline.fault("*", "hang"):
        line, _ = run(
            watching(
                moa.fan_out(models, question, max_concurrency=1), states("waiting", "queued", "queued"), panel.Live.line
            )
        )
    assert line.startswith("0 of 3 calls ended · 1 waiting · 2 queued · ")


def test_without_a_price_the_cost_is_unknown_and_never_zero(question, run):
    async def go():
        live = panel.Live()
        await asyncio.create_task(moa.ask("vllm:any", question), context=watched_by(live))
        return live

    live = run(go())
    assert " · cost unknown · " in live.line()
    assert "$" not in read(live.html()).text


def test_what_a_vendor_counts_while_it_writes_is_not_added_to_the_estimate(models, recorder, live, run):
    async def answer(request, asked):
        choices = [{"index": 0, "delta": {"content": "x" * 4000}, "finish_reason": None}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1000, "total_tokens": 1001}
        shell = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        await response.write(f"data: {json.dumps(shell | {'choices': choices, 'usage': usage})}\n\n".encode())
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.02)
        return response

    recorder.answer = answer
    writes = lambda live: live.replies and live.replies[0].text  # noqa: E731
    (line, reply), _ = run(watching(moa.ask(models[0], "Why?"), writes, lambda live: (live.line(), live.replies[0])))
    assert f" · about {dollars(reply.cost_usd)}" in line


def test_of_many_calls_only_those_under_way_are_shown_one_by_one(models, question, run):
    def look(live):
        return sections(live.html()), read(live.html()).text

    with offline.fault("*", "hang"):
        (names, text), live = run(
            watching(moa.fan_out(models * 10, question), states(*["waiting"] * 30), look),
        )
    assert names == [f"{number + 1}. {models[number % 3]}" for number in range(panel.MOST)]
    assert "6 more calls are not shown one by one." in text
    assert sections(live.html()) == []
    assert "30 more calls" in live.html()
    # At the end all stay on the screen, the later ones folded.
    last = live.html(whole=True)
    assert len(sections(last)) == 30
    assert sections(last.partition("<details><summary>6 more calls</summary>")[2]) == sections(last)[24:]
    assert read(last).text.count("stopped after") == 30


def test_a_second_request_is_shown_once_it_began_with_the_number_of_the_first(models, question, run):
    async def go():
        live, names = panel.Live(), []
        work = moa.fan_out(models[:2], question, hedge_after=0.5)
        task = asyncio.create_task(work, context=watched_by(live))
        await until(lambda: states("waiting", "waiting")(live))
        names.append(sections(live.html()))
        await until(lambda: states(*["waiting"] * 4)(live))
        names.append(sections(live.html()))
        task.cancel()
        await asyncio.wait([task])
        return names

    with offline.fault("*", "hang"):
        before, after = run(go())
    assert before == [f"1. {models[0]}", f"2. {models[1]}"]
    assert after == [
        f"1. {models[0]}",
        f"1. second request · {models[0]}",
        f"2. {models[1]}",
        f"2. second request · {models[1]}",
    ]


def test_nothing_is_shown_of_no_calls():
    live = panel.Live()
    assert live.line() == "0 of 0 calls ended · $0.000000"
    assert read(live.html()).text.strip() == live.line()


# watch


def test_watch_gives_what_awaiting_gives(models, question, run, shown):
    answer = run(moa.watch(moa.mixture_of_agents(question, models, models[0])))
    assert answer.outcome == "complete"
    last = shown[-1][1]
    assert sections(last["text/html"]) == [
        *(f"{number}. layer 1 · {model}" for number, model in enumerate(models, 1)),
        f"4. aggregator · {models[0]}",
    ]
    assert last["text/plain"].startswith("4 of 4 calls ended · ")


def test_watch_gives_the_results_of_several(models, question, run, shown):
    reply, replies = run(moa.watch(moa.ask(models[0], question), moa.fan_out(models, question)))
    assert (reply.model, reply.ok, len(replies.good)) == (models[0], True, 3)
    assert shown[-1][1]["text/plain"].startswith("4 of 4 calls ended · ")


@pytest.mark.parametrize("wrong", [(), ("text",), (None,), (moa.ask,)])
def test_watch_refuses_what_is_no_coroutine_before_any_call(wrong, models, question, run, vendors):
    async def go():
        await moa.watch(moa.ask(models[0], question), *wrong) if wrong else await moa.watch()

    with pytest.raises(TypeError, match="not yet awaited"):
        run(go())
    assert not vendors.asked


def test_bad_input_raises_before_any_call(models, run, vendors):
    with pytest.raises(ValueError, match="The prompt is empty"):
        run(moa.watch(moa.fan_out(models, " ")))
    assert not vendors.asked


@pytest.mark.parametrize("first", [True, False])
def test_the_exception_of_one_stops_the_others_and_carries_the_replies(first, models, question, run, shown):
    async def fails():
        reply = await moa.ask(models[0], question)
        raise OSError(f"no room for {len(reply.text)} characters")

    async def go():
        works = [fails(), moa.ask(models[2], question)]
        await moa.watch(*(works if first else reversed(works)))

    with offline.fault("mistral", "stalled_stream"), pytest.raises(OSError, match="no room") as caught:
        run(go())
    good, other = sorted(caught.value.replies, key=lambda reply: not reply.ok)
    assert (good.ok, other.ok, other.abandoned) == (True, False, True)
    assert "2 of 2 calls ended" in shown[-1][1]["text/plain"]


@pytest.mark.parametrize("often", [1, 2])
def test_a_cancelled_watch_leaves_no_task_and_keeps_what_arrived(often, models, question, run, shown):
    async def go():
        task = asyncio.create_task(moa.watch(moa.fan_out(models, question)))
        await until(lambda: shown and "2 of 3 calls ended · 1 writing" in shown[-1][1]["text/plain"])
        began = time.perf_counter()
        for _ in range(often):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.replies, time.perf_counter() - began

    with offline.fault("mistral", "stalled_stream"):
        replies, took = run(go())
    assert [reply.ok for reply in replies] == [True, True, False]
    assert took < 5
    last = read(shown[-1][1]["text/html"]).text
    assert "3 of 3 calls ended" in last
    assert replies[2].text.split()[-1] in last.split()[-1]


def test_a_fast_stream_is_shown_at_most_ten_times_a_second(models, recorder, live, run, shown):
    recorder.answer = partial(fast, lasting=4)
    reply = run(moa.watch(moa.ask(models[0], "Why?")))
    assert reply.text.count("word") > 500
    whole = shown[-1][0] - shown[0][0]
    assert 4 < len(shown) <= whole / panel.REFRESH + 3
    assert all(bundle["text/html"] != before["text/html"] for (_, before), (_, bundle) in pairwise(shown))
    # While it is written, what is shown of a text stays small.
    assert all(len(bundle["text/html"]) < 3 * panel.TAIL + 3000 for _, bundle in shown[:-1])


def test_a_view_that_cannot_be_made_leaves_nothing_behind(models, question, run, vendors, monkeypatch):
    monkeypatch.setattr(panel, "progress_view", lambda: 1 / 0)

    async def go():
        with pytest.raises(ZeroDivisionError):
            await moa.watch(moa.ask(models[0], question))
        await asyncio.sleep(0.1)

    run(go())
    assert not vendors.asked


def test_nothing_new_is_not_shown_again(run, shown):
    run(moa.watch(asyncio.sleep(5 * panel.REFRESH)))
    assert len(shown) == 1


def test_outside_a_notebook_it_is_a_bar_on_stderr(models, question, run, capsys):
    run(moa.watch(moa.fan_out(models, question)))
    out, err = capsys.readouterr()
    assert out == ""
    assert "3 of 3 calls ended" in err.rpartition("\r")[2]
    assert "<" not in err


# Hostile texts


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_only_text(name, models, recorder, live, run):
    text = HOSTILE[name]

    async def go():
        live = panel.Live()
        reply = await asyncio.create_task(moa.ask(models[0], "Why?"), context=watched_by(live))
        return live, reply

    recorder.answer = says(text)
    live, reply = run(go())
    assert reply.text == text
    for result in (reply, moa.Replies([reply])):
        assert not Reader(result._repr_html_()).typeset
    for whole in (True, False):
        found = read(live.html(whole=whole))
        assert not found.typeset
        for word in re.findall(r"\w+", re.sub(r"```\S*", "", text[-1000:])):  # a fence names its language, unseen
            assert word in found.text
    assert len(sections(live.html())) == 1  # nothing closes it early


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_only_text_while_it_is_written(name, models, recorder, live, run):
    text = HOSTILE[name]

    async def answer(request, asked):
        response = web.StreamResponse(headers=STREAM)
        await response.prepare(request)
        await response.write((await says(text)(request, asked)).body.partition(b"\n\n")[0] + b"\n\n")
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.02)
        return response

    recorder.answer = answer
    source, _ = run(
        watching(
            moa.ask(models[0], "Why?"), lambda live: live.replies and live.replies[0].text == text, panel.Live.html
        )
    )
    shown = text[-panel.TAIL :].translate(str.maketrans({"\x07": "␇", "\x1b": "␛", "\x00": "␀", "\x7f": "␡"}))
    assert shown.replace("\x85", "\ufffd").replace("\r", "␍") in read(source).text


def test_what_a_vendor_says_of_a_failure_is_only_text(models, recorder, live, run):
    async def answer(request, asked):
        message = HOSTILE["frame"] + HOSTILE["image"] + HOSTILE["control"]
        return web.json_response({"error": {"message": message, "type": "error"}}, status=400)

    async def go():
        live = panel.Live()
        await asyncio.create_task(moa.ask(models[0], "Why?"), context=watched_by(live))
        return live

    recorder.answer = answer
    found = read(run(go()).html())
    assert not found.typeset
    assert "<iframe" in found.text
    assert "onerror" in found.text


def test_the_name_of_a_model_is_only_text(question, run):
    name = 'vllm:"><script>alert(1)</script>'

    async def go():
        live = panel.Live()
        await asyncio.create_task(moa.ask(name, question), context=watched_by(live))
        return live

    assert name in read(run(go()).html()).text


def test_no_mixture_of_markup_becomes_anything_but_text():
    """Texts put together by chance, with a fixed seed, of all that means something to Markdown, HTML or maths."""
    chance = random.Random(4)
    marks = [*"<>&\"'`*_#[]()!|~$\\-+=:\n\r\t\x00\x1b\u202e ", "\n\n", "\n    ", "\n> ", "\n- ", "\n1. ", "\n```\n"]
    marks += ["\n~~~\n", "<script>", "</script>", "<!--", "-->", "<![CDATA[", "<?", "<img src=x onerror=y>", "</div>"]
    marks += ["<a href='", "](javascript:", "![", "&lt;", "&#60;", "&quot;", "https://", "\n[word]: ", "\n---\n", "$$"]
    for number in range(1500):
        words = [f"{'abcdefghij'[place]}word{number}x" for place in range(10)]
        text = "".join(part for word in words for part in (*chance.choices(marks, k=chance.randint(0, 6)), word))
        table = "|" in text and "\n" in text  # Markdown leaves out the cells that a table's header has no column for
        found = read(rendered(text))
        missing = [word for word in words if word not in found.text]
        assert table or not missing, (text, missing)
        assert all(word in read(escaped(text)).text for word in words)


def test_a_very_long_text_is_shown_whole_and_quickly():
    text = "**w** " * (100_000 // 6)
    assert len(text) > LONGEST_MARKDOWN
    began = time.process_time()
    assert text in read(rendered(text)).text
    rendered("".join(f"{'> ' * (n % 90)}[*`{n}" for n in range(LONGEST_MARKDOWN // 100)))
    assert time.process_time() - began < 5
