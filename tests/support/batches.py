"""Batches at the embedded vendors as a test asks for them: the same few words for each vendor's SDK.

What comes back is read strictly, down to the last field, by the SDK's own types: the SDKs themselves are lenient.
"""

import json

import anthropic
import mistralai.client.models as mistral
import openai
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request
from mistralai.client import Mistral
from openai.types import Batch, FileObject
from openai.types.chat import ChatCompletion

import moa_helpers as moa
from moa_helpers import offline
from moa_helpers.offline import standins
from tests.support.scripts import HAIKU, LUNA, SMALL
from tests.support.waiting import wait_until

SKY = "Why is the sky blue?"
CITY = "What are three fun things to do in San Francisco?"
PROMPTS = [SKY, CITY, "What causes the seasons on Earth?"]
ENDPOINT = "/v1/chat/completions"


def asked(model, prompt=SKY, **rest):
    return {"model": model.partition(":")[2], "messages": [{"role": "user", "content": prompt}], **rest}


def says(model, prompt, sample=0):
    return standins.answer(moa.find(model), "", prompt, sample)


def strictly(kind, found):
    """What came, read by the SDK's type."""
    assert isinstance(found, kind)
    return kind.model_validate(found.to_dict(), strict=True)


def lines_of(*requests):
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def line(name, body, **rest):
    return {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body} | rest


class OpenAI:
    """What a test asks of a batch, in OpenAI's dialect."""

    dialect, model, over = "openai", LUNA, ("completed", "failed", "expired", "cancelled")

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

    def cancel(self, job):
        return self.api.cancel(job.id)

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

    def cancel(self, job):
        return self.api.cancel(job_id=job.id)

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


def ended(vendor, job):
    """The job when it is over."""
    wait_until(lambda: vendor.status(job) in vendor.over)
    assert vendor.status(job) in vendor.over
    return vendor.get(job)


def many(vendor, count=3):
    return [(f"q-{number}", asked(vendor.model, PROMPTS[number % 3])) for number in range(count)]
