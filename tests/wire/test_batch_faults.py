"""What goes wrong with batches at the embedded vendors: every fault, lines that are none, clients that leave."""

import http.client
import json
import os
import socket

import anthropic
import openai
import pytest
from mistralai.client.errors import MistralError

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import faults
from moa_helpers.offline.batch_files import LIMITS
from tests.support.batches import (
    ENDPOINT,
    HAIKU,
    LUNA,
    SKY,
    SMALL,
    Anthropic,
    Mistrals,
    OpenAI,
    asked,
    ended,
    line,
    lines_of,
    many,
    says,
)
from tests.support.waiting import wait_until
from tests.wire.test_plain_client import HEADERS, ask, chat, exchange

REFUSED = (openai.APIStatusError, anthropic.APIStatusError, MistralError)
ERRORS = {"openai": 500, "mistral": 500, "anthropic": "api_error"}


def spoilt(vendor, kind, count=8, **rest):
    """A batch that is over, in which the fault hit."""
    with offline.fault(vendor.dialect, kind, **rest):
        job = vendor.create(many(vendor, count))
        wait_until(lambda: vendor.status(job) in vendor.over)
    return vendor.get(job)


def test_which_faults_are_of_batches():
    assert [kind for kind, of in faults.OF.items() if of == "item"] == ["item_400", "duplicate_ids"]
    assert not offline.BATCH_KINDS.keys() & {*faults.DRAWN, *offline.KINDS}
    with offline.fault("*", "never_starts"), offline.fault("*", "duplicate_ids"), offline.fault("*", "item_400"):
        assert ask(f"{offline.start().url}/v1/chat/completions", chat("gpt-6-luna", SKY))[0] == 200


def test_shuffled(vendor):
    names = [name for name, *_ in vendor.results(spoilt(vendor, "shuffled"))]
    assert sorted(names) == [f"q-{number}" for number in range(8)] != names


def test_an_error_file_alone(vendor, vendors):
    vendors.batched.clear()
    job = spoilt(vendor, "error_file_only")
    assert {status for _, status, _ in vendor.results(job)} == {ERRORS[vendor.dialect]}
    assert len(vendor.results(job)) == 8
    if vendor.dialect != "anthropic":
        assert vendor.status(job) in ("completed", "SUCCESS")
        assert (getattr(job, "output_file_id", None), getattr(job, "output_file", None)) == (None, None)
    assert not vendors.batched


def test_a_status_400_and_no_error(vendor, vendors):
    vendors.batched.clear()
    job = spoilt(vendor, "item_400", chance=0.5)
    found = {name: status for name, status, _ in vendor.results(job)}
    assert set(found.values()) == {200, 400 if vendor.dialect != "anthropic" else "invalid_request_error"}
    assert (getattr(job, "error_file_id", None), getattr(job, "error_file", None)) == (None, None)
    assert set(vendors.batched) == {name for name, status in found.items() if status == 200}


def test_faults_of_live_calls_hit_items(vendor):
    job = spoilt(vendor, 429, times=3)
    statuses = [status for _, status, _ in vendor.results(job)]
    assert statuses.count(200) == 5
    assert statuses.count("rate_limit_error" if vendor.dialect == "anthropic" else 429) == 3
    for kind in ("hang", "stalled_stream", "reset", "malformed_json"):
        found = vendor.results(spoilt(vendor, kind, 1))
        assert [status for _, status, _ in found] == [ERRORS[vendor.dialect]], kind
    for kind in ("empty", "length", "content_filter"):
        ((_, status, text),) = vendor.results(spoilt(vendor, kind, 1))
        assert status == 200
        assert (text or "") != says(vendor.model, SKY)


def test_any_draws_faults_of_calls_alone(vendor):
    job = spoilt(vendor, "any", 40, chance=0.5)
    assert len({name for name, *_ in vendor.results(job)}) == len(vendor.results(job)) == 40


def test_validation_fails_by_line(vendor):
    if vendor.dialect == "anthropic":
        with offline.fault("anthropic", "validation_failed"), pytest.raises(anthropic.BadRequestError, match=r"s\.3: "):
            vendor.create(many(vendor, 8))
        return
    job = spoilt(vendor, "validation_failed")
    assert job.status in ("failed", "FAILED")
    if vendor.dialect == "openai":
        (error,) = job.errors.data
        assert (error.code, error.line) == ("invalid_json_line", 4)
    else:
        assert "line 4" in job.errors[0].message
    assert vendor.results(job) == []


def test_a_window_ends_with_a_part_of_the_answers(vendor, vendors):
    vendors.batched.clear()
    job = spoilt(vendor, "expired", 20)
    found = vendor.results(job)
    answered = [name for name, status, _ in found if status == 200]
    assert 5 < len(answered) < 15
    assert sorted(answered) == sorted(vendors.batched)
    assert vendor.status(job) in ("expired", "TIMEOUT_EXCEEDED", "ended")
    late = {"openai": "batch_expired", "anthropic": "expired"}
    if vendor.dialect in late:
        assert [status for _, status, _ in found].count(late[vendor.dialect]) == 20 - len(answered)


def test_a_job_that_never_starts(vendor, vendors, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 1e-6)
    with offline.fault("*", "never_starts"):
        job = vendor.create(many(vendor))
    assert vendor.status(job) in ("validating", "QUEUED", "in_progress")
    vendors.speed = 1000
    job = ended(vendor, job)
    assert vendor.status(job) in ("expired", "TIMEOUT_EXCEEDED", "ended")
    assert not [name for name, status, _ in vendor.results(job) if status == 200]


def test_a_job_that_never_starts_can_be_canceled(clients, vendors, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 1e-6)
    vendor = clients(OpenAI)
    with offline.fault("openai", "never_starts"):
        job = vendor.create(many(vendor))
        vendor.api.cancel(job.id)
        assert ended(vendor, job).status == "cancelled"


def test_duplicate_ids(vendor, vendors):
    vendors.batched.clear()
    names = [name for name, *_ in vendor.results(spoilt(vendor, "duplicate_ids", 4))]
    assert sorted(names) == sorted(2 * [f"q-{number}" for number in range(4)])
    assert set(vendors.batched.values()) == {1}


def test_frozen_counts(vendor):
    job = spoilt(vendor, "frozen_counts")
    if vendor.dialect == "openai":
        assert (job.request_counts.total, job.request_counts.completed) == (8, 0)
    elif vendor.dialect == "mistral":
        assert (job.total_requests, job.completed_requests, job.succeeded_requests) == (8, 0, 0)
    else:
        assert (job.request_counts.processing, job.request_counts.succeeded) == (8, 0)
    assert len(vendor.results(job)) == 8


def test_results_are_gone(vendor):
    job = spoilt(vendor, "results_gone")
    with pytest.raises(REFUSED) as raised:
        vendor.results(job)
    assert raised.value.status_code == 404


def test_a_fault_of_one_job_alone_by_header(clients, vendors):
    vendor = clients(OpenAI)
    job = vendor.create(many(vendor), extra_headers={"x-moa-fault": "error_file_only"})
    assert ended(vendor, job).output_file_id is None
    with pytest.raises(openai.BadRequestError, match="There is no fault"):
        vendor.create(many(vendor), extra_headers={"x-moa-fault": "flood"})


GOOD = line("good", asked(LUNA))
NESTED = b'{"custom_id": "deep", "body": ' + b"[" * 200_000 + b"\n"
BAD_LINES = {
    "no JSON": (b"{\n", "invalid_json_line"),
    "no object": (b"[]\n", "invalid_json_line"),
    "NUL": (b"\0\n", "invalid_json_line"),
    "nested": (NESTED, "invalid_json_line"),
    "half a surrogate pair": (lines_of(line("\ud800", asked(LUNA))), "invalid_json_line"),
    "no UTF-8": (b'{"custom_id": "\xff"}\n', "invalid_json_line"),
    "NaN": (b'{"custom_id": NaN}\n', "invalid_json_line"),
    "huge": (lines_of(line("huge", asked(LUNA, "x" * 9 * 2**20))), "invalid_json_line"),
    "no id": (lines_of({"method": "POST", "url": ENDPOINT, "body": asked(LUNA)}), "invalid_value"),
    "no body": (lines_of(line("a", None)), "missing_required_parameter"),
    "other endpoint": (lines_of(line("a", asked(LUNA), url="/v1/embeddings")), "url_mismatch"),
    "other method": (lines_of(line("a", asked(LUNA), method="GET")), "url_mismatch"),
    "same id": (lines_of(GOOD), "duplicate_custom_id"),
    "other model": (lines_of(line("a", asked("openai:gpt-6-sol"))), "model_mismatch"),
    "other vendor": (lines_of(line("a", asked(HAIKU))), "model_not_found"),
    "no model": (lines_of(line("a", {"messages": []})), "missing_required_parameter"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_fails_a_batch_by_its_number(clients, name):
    data, code = BAD_LINES[name]
    vendor = clients(OpenAI)
    job = ended(vendor, vendor.create(lines_of(GOOD) + b"\n" + data))
    assert job.status == "failed"
    assert (job.errors.data[0].code, job.errors.data[0].line) == (code, 3)
    assert job.output_file_id is None


def test_odd_lines_that_can_be_read(clients):
    twice = json.dumps(line("first", asked(LUNA))).replace(
        '"custom_id": "first"', '"custom_id": 1, "custom_id": "last"'
    )
    vendor = clients(OpenAI)
    job = ended(vendor, vendor.create(b"\xef\xbb\xbf" + twice.encode() + b"\r\n\r\n" + lines_of(GOOD).rstrip()))
    assert [status for _, status, _ in vendor.results(job)] == [200, 200]
    assert {name for name, *_ in vendor.results(job)} == {"last", "good"}


def test_too_many_lines_and_none(clients, monkeypatch):
    monkeypatch.setitem(LIMITS["openai"], "requests", "2")
    vendor = clients(OpenAI)
    assert ended(vendor, vendor.create(many(vendor))).errors.data[0].code == "too_many_tasks"
    assert ended(vendor, vendor.create(b"\n\n")).errors.data[0].code == "empty_file"
    monkeypatch.setitem(LIMITS["openai"], "megabytes", "0.0001")
    with pytest.raises(openai.APIStatusError, match="too large"):
        vendor.create(many(vendor))


def test_mistral_has_one_model_a_job_and_lets_an_id_stand_twice(clients):
    vendor = clients(Mistrals)
    twice = ended(vendor, vendor.create([("a", asked(SMALL)), ("a", asked(SMALL))]))
    assert len(vendor.results(twice)) == 2
    other = ended(vendor, vendor.create([("a", asked(SMALL)), ("b", asked("mistral:mistral-large-2512"))]))
    assert other.status == "FAILED"
    assert "line 2" in other.errors[0].message


def test_anthropic_refuses_a_batch_whose_ids_are_odd_and_lets_each_request_fail_for_itself(clients):
    vendor = clients(Anthropic)
    for requests in ([], [("a b", asked(HAIKU))], [("x" * 65, asked(HAIKU))], [("a", asked(HAIKU))] * 2):
        with pytest.raises(anthropic.BadRequestError):
            vendor.create(requests)
    requests = [("other", asked("anthropic:claude-no-such")), ("loud", asked(HAIKU, temperature=0.3, top_k="a"))]
    requests += [("stream", asked(HAIKU, stream=True)), ("good", asked(HAIKU))]
    found = {name: status for name, status, _ in vendor.results(ended(vendor, vendor.create(requests)))}
    assert found["good"] == 200
    assert found["loud"] == found["stream"] == "invalid_request_error"


def test_a_job_of_nothing_but_bad_lines_says_so_in_few_words(clients):
    vendor = clients(OpenAI)
    job = ended(vendor, vendor.create(b"{\n" * 3_000))
    assert (job.status, len(job.errors.data), job.errors.data[-1].line) == ("failed", 100, 100)


@pytest.mark.parametrize("path", ["/openai/v1/batches", "/mistral/v1/batch/jobs", "/anthropic/v1/messages/batches"])
def test_what_is_no_job_is_refused_in_words(path):
    url = offline.start().url + path
    wrong = [b"", b"{", b"[]", b"null", b'{"requests": [{]}', b'{"requests": [1', b'{"requests": 5}', b"\xff", b"{} x"]
    wrong += [b'{"requests": ' + b"[" * 200_000, b'{"endpoint": 5, "input_file_id": [], "input_files": {}}']
    wrong += [b'{"endpoint": "/v1/chat/completions", "completion_window": "1y", "input_file_id": "none"}']
    wrong += [b'{"endpoint": "/v1/chat/completions", "requests": [], "timeout_hours": 0, "metadata": []}']
    for body in wrong:
        status, text = ask(url, body)
        assert (status in (400, 404), "error" in text) == (True, True), (body[:40], status, text)
    for method, rest in (("GET", "/none"), ("POST", "/none/cancel")):
        assert exchange(url + rest, b"{}" if method == "POST" else None, method=method)[0] == 404
    assert ask(url, b"{}", authorization="")[0] == 401
    assert ask(f"{url}?limit=x&page_size=x")[0] == 400


def test_a_file_that_is_none_is_refused():
    url = f"{offline.start().url}/openai/v1/files"
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert ask(url, b"{}")[0] == 400
    for body in (
        b"",
        b"--x--\r\n",
        b"--y\r\n",
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nvision\r\n--x--',
    ):
        assert ask(url, body, **form)[0] == 400, body
    assert ask(url, b"--x\r\n", **{"content-type": "multipart/form-data"})[0] == 400


def test_a_client_that_hangs_up_while_it_uploads_leaves_nothing(vendors):
    place = offline.start().url.removeprefix("http://").split(":")
    jobs = vendors._batches.jobs
    known = len(jobs.files)
    for path in ("/openai/v1/files", "/anthropic/v1/messages/batches"):
        connection = http.client.HTTPConnection(*place, timeout=20)
        connection.putrequest("POST", path)
        for name, value in (HEADERS | {"content-type": "multipart/form-data; boundary=x"}).items():
            connection.putheader(name, value)
        connection.putheader("content-length", "1000000")
        connection.endheaders(
            b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"{" * 90_000
        )
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    assert ask(f"{offline.start().url}/v1/models")[0] == 200
    assert len(jobs.files) == known


@pytest.mark.slow
def test_a_long_batch_holds_up_no_live_request(clients, vendors, run, monkeypatch):
    monkeypatch.setattr(vendors, "speed", 1000.0)
    vendors.batched.clear()
    vendor = clients(OpenAI)
    job = vendor.create(lines_of(*(line(f"n-{number}", asked(LUNA)) for number in range(20_000))))
    wait_until(lambda: vendor.status(job) == "in_progress", 300)
    while_at_work = 0
    for number in range(5):
        reply = run(moa.ask(LUNA, f"{SKY} (variant {number})"))
        assert reply.ok
        while_at_work += len(vendors.batched) < 20_000
    assert while_at_work == 5, "the batch was done before the live requests were"
    vendor.api.cancel(job.id)
    job = ended(vendor, job)
    assert job.request_counts.total == 20_000
    assert len(vendor.results(job)) == job.request_counts.completed == len(vendors.batched) > 0


def test_files_end_with_who_refers_to_them(clients, vendors):
    vendor = clients(OpenAI, "leaving")
    job = ended(vendor, vendor.create(many(vendor)))
    path = vendors._batches.jobs.files[job.output_file_id].path
    assert os.path.exists(path)
    vendor.client.files.delete(job.output_file_id)
    del vendors._batches.jobs.known[job.id]
    wait_until(lambda: not os.path.exists(path))
    assert not os.path.exists(path)
