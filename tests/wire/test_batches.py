"""The batch APIs of the embedded vendors: the official SDKs ask, and their own types read strictly what comes."""

import json
import time
from datetime import UTC, datetime

import anthropic
import mistralai.client.models as mistral
import openai
import pytest
from anthropic.types.messages import DeletedMessageBatch, MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request
from mistralai.client import Mistral
from mistralai.client.errors import MistralError
from openai.types import Batch, FileDeleted, FileObject
from openai.types.chat import ChatCompletion

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.support.waiting import wait_until
from tests.wire.test_plain_client import ask, chat
from tests.wire.test_sdks import strictly

SKY = "Why is the sky blue?"
CITY = "What are three fun things to do in San Francisco?"
PROMPTS = [SKY, CITY, "What causes the seasons on Earth?"]
ENDPOINT = "/v1/chat/completions"


def asked(model, prompt=SKY, **rest):
    return chat(model.partition(":")[2], prompt, **rest)


def says(model, prompt, sample=0):
    return standins.answer(moa.find(model), "", prompt, sample)


def lines_of(*requests):
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def line(name, body, **rest):
    return {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body} | rest


class OpenAI:
    """What a test asks of a batch, in OpenAI's dialect."""

    dialect, model, over = "openai", LUNA, ("completed", "failed", "expired", "cancelled")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.dialect != "mistral":
            self.client.close()

    def __init__(self, key="any", vendor="/openai"):
        self.client = openai.OpenAI(base_url=f"{offline.start().url}{vendor}/v1", api_key=key, max_retries=0)
        self.api = self.client.batches

    def create(self, requests, **rest):
        data = requests if isinstance(requests, bytes) else lines_of(*(line(*each) for each in requests))
        file = self.client.files.create(file=("in.jsonl", data), purpose="batch")
        strictly(FileObject, file)
        rest = {"endpoint": ENDPOINT, "completion_window": "24h"} | rest
        return self.api.create(input_file_id=file.id, **rest)

    def get(self, job):
        return strictly(Batch, self.api.retrieve(job.id))

    def status(self, job):
        return self.get(job).status

    def results(self, job):
        """Each result as (custom_id, status, text or error), from both files."""
        job = self.get(job)
        found = []
        for name in filter(None, (job.output_file_id, job.error_file_id)):
            for one in self.client.files.content(name).text.splitlines():
                found.append(self.result(json.loads(one)))
        return found

    def result(self, told):
        assert set(told) == {"id", "custom_id", "response", "error"}
        if not told["response"]:
            return told["custom_id"], told["error"]["code"], None
        response = told["response"]
        if response["status_code"] != 200:
            return told["custom_id"], response["status_code"], response["body"]["error"]["message"]
        return told["custom_id"], 200, self.text(response["body"])

    def text(self, body):
        return ChatCompletion.model_validate(body, strict=True).choices[0].message.content


class Mistrals(OpenAI):
    dialect, model = "mistral", SMALL
    over = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")

    def __init__(self, key="any", vendor="/mistral"):
        self.client = Mistral(api_key=key, server_url=f"{offline.start().url}{vendor}")
        self.api = self.client.batch.jobs

    def create(self, requests, **rest):
        data = (
            requests if isinstance(requests, bytes) else lines_of(*({"custom_id": n, "body": b} for n, b in requests))
        )
        file = self.client.files.upload(file={"file_name": "in.jsonl", "content": data}, purpose="batch")
        assert file.sample_type == "batch_request"
        rest = {"model": SMALL.partition(":")[2], "endpoint": ENDPOINT} | rest
        return self.api.create(input_files=[file.id], **rest)

    def get(self, job):
        found = self.api.get(job_id=job.id)
        return type(found).model_validate(found.model_dump(), strict=True)

    def results(self, job):
        job, found = self.get(job), []
        for name in filter(None, (job.output_file, job.error_file)):
            data = self.client.files.download(file_id=name).read()
            found += [self.result(json.loads(one)) for one in data.splitlines()]
        return found

    def result(self, told):
        if told["response"]["status_code"] != 200:
            return told["custom_id"], told["response"]["status_code"], told["response"]["body"]["message"]
        return super().result(told)

    def text(self, body):
        return mistral.ChatCompletionResponse.model_validate(body).choices[0].message.content


class Anthropic(OpenAI):
    dialect, model, over = "anthropic", HAIKU, ("ended",)

    def __init__(self, key="any", vendor="/anthropic"):
        self.client = anthropic.Anthropic(base_url=f"{offline.start().url}{vendor}", api_key=key, max_retries=0)
        self.api = self.client.messages.batches

    def create(self, requests, **rest):
        requests = [Request(custom_id=name, params={"max_tokens": 900} | body) for name, body in requests]
        return self.api.create(requests=requests, **rest)

    def get(self, job):
        found = self.api.retrieve(job.id)
        # strict would refuse dates, which JSON writes as texts
        MessageBatch.model_validate_json(json.dumps(found.to_dict(mode="json")), strict=True)
        return found

    def status(self, job):
        return self.get(job).processing_status

    def results(self, job):
        return [self.result(told) for told in self.api.results(job.id)]

    def result(self, told):
        kind = told.result.type
        if kind != "errored" or told.result.error.error.type != "request_too_large":  # which the SDK's type lacks
            strictly(MessageBatchIndividualResponse, told)
        if kind == "errored":
            return told.custom_id, told.result.error.error.type, told.result.error.error.message
        text = told.result.message.content[0].text if kind == "succeeded" and told.result.message.content else None
        return told.custom_id, {"succeeded": 200}.get(kind, kind), text


@pytest.fixture(params=[OpenAI, Mistrals, Anthropic], ids=lambda kind: kind.dialect)
def vendor(request):
    with request.param() as client:
        yield client


def ended(vendor, job):
    """The job when it is over."""
    wait_until(lambda: vendor.status(job) in vendor.over)
    assert vendor.status(job) in vendor.over
    return vendor.get(job)


def many(vendor, count=3):
    return [(f"q-{number}", asked(vendor.model, PROMPTS[number % 3])) for number in range(count)]


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


def test_openai_says_all_of_a_batch(vendors):
    vendor = OpenAI()
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


def test_anthropic_shows_no_progress_and_its_results_stand_at_an_address(vendors, monkeypatch):
    vendor = Anthropic()
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


def test_mistral_takes_requests_inline_and_gives_them_back_so(vendors):
    vendor = Mistrals("inline")
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


def test_one_address_for_all_vendors():
    for kind in (OpenAI, Mistrals, Anthropic):
        vendor = kind(vendor="")
        job = vendor.create(many(vendor))
        ended(vendor, job)
        assert {status for _, status, _ in vendor.results(job)} == {200}


def test_jobs_are_listed_page_by_page_with_the_newest_first():
    keys = [f"key-{time.time_ns()}" for _ in range(2)]
    with OpenAI(keys[0]) as vendor, OpenAI(keys[1]) as other:
        made = [vendor.create(many(vendor, 1), metadata={"n": str(number)}).id for number in range(5)]
        assert [job.id for job in vendor.api.list(limit=2)] == made[::-1]
        assert [job.metadata["n"] for job in vendor.api.list(after=made[2])] == ["1", "0"]
        assert vendor.api.list(limit=2).has_more
        assert list(other.api.list()) == []
        with pytest.raises(openai.NotFoundError):  # as after the key was changed
            other.api.retrieve(made[0])
        with pytest.raises(openai.BadRequestError):
            vendor.api.list(limit=0)
    with Anthropic(keys[0]) as vendor:
        made = [vendor.create(many(vendor, 1)).id for number in range(5)]
        assert [job.id for job in vendor.api.list(limit=2)] == made[::-1]
        assert [job.id for job in vendor.api.list(before_id=made[2], limit=1).data] == [made[3]]
    with Mistrals(keys[0]) as vendor:
        made = [vendor.create(many(vendor, 1)) for _ in range(5)]
        pages = [vendor.api.list(page=number, page_size=2) for number in range(3)]
        assert [job.id for page in pages for job in page.data] == [job.id for job in made[::-1]]
        assert {page.total for page in pages} == {5}
        later = datetime.fromtimestamp(made[-1].created_at + 30 * 24 * 3600, UTC)
        assert not vendor.api.list(created_after=later).data


def test_a_canceled_batch_keeps_what_was_answered(vendor, vendors, monkeypatch):
    vendors.batched.clear()
    monkeypatch.setattr(vendors, "speed", 1e-6)
    job = vendor.create(many(vendor, 30))
    monkeypatch.setattr(vendors, "speed", 0.5)  # a job takes hundreds of steps of the clock
    wait_until(lambda: len(vendors.batched) > 3)
    vendors.speed = 1e-6
    cancel = vendor.api.cancel
    cancel(job_id=job.id) if vendor.dialect == "mistral" else cancel(job.id)
    wait_until(lambda: vendor.status(job) in vendor.over)
    found = vendor.results(job)
    answered = [name for name, status, _ in found if status == 200]
    assert 3 < len(answered) < 30
    assert sorted(answered) == sorted(vendors.batched)
    assert vendor.status(job) in ("cancelled", "CANCELLED", "ended")
    if vendor.dialect == "anthropic":
        assert len(found) == 30
        assert {status for _, status, _ in found} == {200, "canceled"}
        assert vendor.get(job).request_counts.canceled == 30 - len(answered)
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, MistralError)):
        cancel(job_id=job.id) if vendor.dialect == "mistral" else cancel(job.id)
