"""A vendor that writes down what it is sent, and answers in the smallest valid stream of the wire format."""

import json

from aiohttp import web


class Recorder:
    """Answers every request with "Hello there." in the smallest valid stream of the wire format asked for.

    With ``refuse`` it answers 401 and repeats the key in its message instead, as some vendors do; with ``answer``, a
    coroutine function, it lets that answer.
    """

    def application(self):
        application = web.Application()
        application.router.add_post("/{path:.*}", self._answer)
        return application

    async def _answer(self, request):
        body = await request.json()
        self.requests.append({"path": request.path, "headers": request.headers.copy(), "body": body})
        if self.answer:
            return await self.answer(request, body)
        if self.refuse:
            key = request.headers["authorization"].removeprefix("Bearer ")
            message = f"{self.refuse}{key} is not a valid key"
            return web.json_response({"error": {"message": message, "type": "authentication_error"}}, status=401)
        write = messages if request.path.endswith("/messages") else chat
        return web.Response(body=write("served-" + body["model"]), content_type="text/event-stream")


def chat(model):
    def chunk(choices, **usage):
        data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices} | usage
        return f"data: {json.dumps(data)}\n\n"

    def choice(text, finish=None):
        return [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}]

    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    events = [chunk(choice("Hello ")), chunk(choice("there.")), chunk(choice("", "stop")), chunk([], usage=usage)]
    return ("".join(events) + "data: [DONE]\n\n").encode()


def messages(model):
    start = {"id": "1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None}
    events = [
        {"type": "message_start", "message": start | {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
