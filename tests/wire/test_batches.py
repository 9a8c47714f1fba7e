"""The batch APIs of the embedded vendors: the official SDKs ask, and their own types read strictly what comes."""

import gc
import json
import tempfile
import time
from datetime import UTC, datetime

import anthropic
import openai
import pytest
from anthropic.types.messages import DeletedMessageBatch
from mistralai.client.errors import MistralError
from openai.types import Batch, FileDeleted, FileObject

from moa_helpers import offline
from moa_helpers.offline.server import OfflineVendors, Server
from tests.support.batches import (
    CITY,
    ENDPOINT,
    HAIKU,
    PROMPTS,
    SMALL,
    Anthropic,
    Mistrals,
    OpenAI,
    asked,
    ended,
    many,
    says,
    strictly,
)
from tests.support.waiting import wait_until
from tests.wire.test_plain_client import ask


def test_a_batch_is_answered_as_live_requests_are(vendor, vendors):
    vendors.batched.clear()
    job = vendor.create(many(vendor))
    ended(vendor, job)
    assert sorted(vendor.results(job)) == [
        (f"q-{number}", 200, says(vendor.model, prompt)) for number, prompt in enumerate(PROMPTS)
    ]
    assert vendors.batched == {"q-0": 1, "q-1": 1, "q-2": 1}
    assert json.loads(ask(f"{offline.start().url}/offline/counts")[1])["batched"] == vendors.batched


def test_another_sample_of_a_request_is_another_answer(vendor):
    bodies = [asked(vendor.model, CITY) | {"metadata": {"user_id": f"sample-{number}"}} for number in range(3)]
    job = vendor.create([(f"s-{number}", body) for number, body in enumerate(bodies)])
    ended(vendor, job)
    texts = [text for _, _, text in sorted(vendor.results(job))]
    assert texts == [says(vendor.model, CITY, number) for number in range(3)]
    assert len(set(texts)) == 3


def test_openai_says_all_of_a_batch(clients):
    vendor = clients(OpenAI)
    made = vendor.create(many(vendor), metadata={"moa_job": "one"})
    assert strictly(Batch, made).status == "validating"
    job = ended(vendor, made)
    assert (job.request_counts.total, job.request_counts.completed, job.request_counts.failed) == (3, 3, 0)
    assert job.created_at < job.in_progress_at < job.completed_at < job.expires_at == job.created_at + 24 * 3600
    assert 0.2 * 3600 <= job.completed_at - job.created_at <= 3 * 3600 + 1
    assert job.usage.output_tokens > 0 < job.usage.input_tokens
    assert (job.errors, job.error_file_id, job.metadata, job.model) == (None, None, {"moa_job": "one"}, "gpt-6-luna")
    files = {file.id: file for file in vendor.client.files.list()}
    for file in files.values():
        strictly(FileObject, file)
    assert (files[job.input_file_id].purpose, files[job.output_file_id].purpose) == ("batch", "batch_output")
    assert strictly(FileDeleted, vendor.client.files.delete(job.output_file_id)).deleted
    with pytest.raises(openai.NotFoundError):
        vendor.client.files.content(job.output_file_id)
    with pytest.raises(openai.NotFoundError):
        vendor.client.files.retrieve(job.output_file_id)


def test_anthropic_shows_no_progress_and_its_results_stand_at_an_address(clients, vendors, monkeypatch):
    vendor = clients(Anthropic)
    monkeypatch.setattr(vendors, "speed", 1e-6)
    job = vendor.create(many(vendor))
    counts = vendor.get(job).request_counts
    assert (counts.processing, counts.succeeded, job.results_url, job.ended_at) == (3, 0, None, None)
    with pytest.raises(anthropic.APIStatusError):
        vendor.api.delete(job.id)
    vendors.speed = 1000
    job = ended(vendor, job)
    assert job.results_url == f"{offline.start().url}/anthropic/v1/messages/batches/{job.id}/results"
    assert (job.request_counts.processing, job.request_counts.succeeded) == (0, 3)
    assert (job.expires_at - job.created_at).total_seconds() == 24 * 3600
    assert strictly(DeletedMessageBatch, vendor.api.delete(job.id)).id == job.id
    with pytest.raises(anthropic.NotFoundError):
        vendor.api.retrieve(job.id)


def test_mistral_takes_requests_inline_and_gives_them_back_so(clients):
    vendor = clients(Mistrals, f"key-{time.time_ns()}")
    model = SMALL.partition(":")[2]
    requests = [{"custom_id": name, "body": body} for name, body in many(vendor)]
    for request in requests:
        del request["body"]["model"]  # the job names it
    job = vendor.api.create(model=model, endpoint=ENDPOINT, requests=requests, metadata={"a": "b"}, timeout_hours=48)
    assert vendor.get(job).outputs is None
    job = ended(vendor, job)
    assert (job.total_requests, job.completed_requests, job.succeeded_requests, job.failed_requests) == (3, 3, 3, 0)
    assert (job.model, job.metadata, job.input_files, job.errors) == (model, {"a": "b"}, [], [])
    assert job.created_at < job.started_at < job.completed_at
    told = [vendor.result(one) for one in vendor.api.get(job_id=job.id, inline=True).outputs]
    assert sorted(told) == sorted(vendor.results(job))
    assert len(told) == 3
    files = vendor.client.files.list()
    assert [file.sample_type for file in files.data] == ["batch_result"]
    assert vendor.client.files.retrieve(file_id=job.output_file).num_lines == 3
    assert vendor.client.files.delete(file_id=job.output_file).deleted
    assert vendor.api.delete(job_id=job.id).deleted
    with pytest.raises(MistralError):
        vendor.api.get(job_id=job.id)


def test_one_address_for_all_vendors(clients):
    for kind in (OpenAI, Mistrals, Anthropic):
        vendor = clients(kind, "any", "")
        job = vendor.create(many(vendor))
        ended(vendor, job)
        assert {status for _, status, _ in vendor.results(job)} == {200}


def test_jobs_are_listed_page_by_page_with_the_newest_first(clients):
    keys = [f"key-{time.time_ns()}-{number}" for number in range(2)]
    vendor, other = (clients(OpenAI, key) for key in keys)
    made = [vendor.create(many(vendor, 1), metadata={"n": str(number)}).id for number in range(5)]
    assert [job.id for job in vendor.api.list(limit=2)] == made[::-1]
    assert [job.metadata["n"] for job in vendor.api.list(after=made[2])] == ["1", "0"]
    assert vendor.api.list(limit=2).has_more
    assert list(other.api.list()) == []
    with pytest.raises(openai.NotFoundError):  # as after the key was changed
        other.api.retrieve(made[0])
    with pytest.raises(openai.BadRequestError):
        vendor.api.list(limit=0)
    vendor = clients(Anthropic, keys[0])
    made = [vendor.create(many(vendor, 1)).id for number in range(5)]
    assert [job.id for job in vendor.api.list(limit=2)] == made[::-1]
    assert [job.id for job in vendor.api.list(before_id=made[2], limit=1).data] == [made[3]]
    vendor = clients(Mistrals, keys[0])
    made = [vendor.create(many(vendor, 1)) for _ in range(5)]
    pages = [vendor.api.list(page=number, page_size=2) for number in range(3)]
    assert [job.id for page in pages for job in page.data] == [job.id for job in made[::-1]]
    assert {page.total for page in pages} == {5}
    later = datetime.fromtimestamp(made[-1].created_at + 30 * 24 * 3600, UTC)
    assert not vendor.api.list(created_after=later).data


def test_a_job_takes_the_hours_that_were_drawn_for_it_however_quick_the_machine_is(clients, vendors, monkeypatch):
    vendor, hours = clients(OpenAI), []
    for speed in (100, 1e9):
        monkeypatch.setattr(vendors, "speed", speed)
        job = ended(vendor, vendor.create(many(vendor, 200)))
        hours.append((job.completed_at - job.created_at) / 3600)
        assert job.request_counts.completed == 200, "its window ended while it was worked on"
    assert hours[0] == pytest.approx(hours[1], abs=0.01)


def test_a_server_that_stops_leaves_no_job_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = Server(OfflineVendors(speed=1e-6))
    requests = [{"custom_id": "a", "params": asked(HAIKU, max_tokens=5)}]
    headers = {"x-api-key": "any", "x-moa-fault": "never_starts"}
    assert ask(f"{server.url}/v1/messages/batches", {"requests": requests}, **headers)[0] == 200
    assert list(tmp_path.glob("moa-offline-*"))
    server.stop()
    del server
    gc.collect()
    assert not list(tmp_path.glob("moa-offline-*"))


def test_a_canceled_batch_keeps_what_was_answered(vendor, vendors, monkeypatch):
    answer = vendors._batches.jobs._answer

    async def until_the_fifth(*asked):
        if len(vendors.batched) == 4:
            vendors.speed = 1e-9  # the clock stands, and no sixth is due
        return await answer(*asked)

    vendors.batched.clear()
    monkeypatch.setattr(vendors._batches.jobs, "_answer", until_the_fifth)
    job = vendor.create(many(vendor, 30))
    wait_until(lambda: len(vendors.batched) == 5)
    vendor.cancel(job)
    ended(vendor, job)
    found = vendor.results(job)
    assert sorted(name for name, status, _ in found if status == 200) == sorted(vendors.batched)
    assert len(vendors.batched) == 5
    assert vendor.status(job) in ("cancelled", "CANCELLED", "ended")
    if vendor.dialect == "anthropic":
        assert [status for _, status, _ in found].count("canceled") == vendor.get(job).request_counts.canceled == 25
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, MistralError)):
        vendor.cancel(job)
