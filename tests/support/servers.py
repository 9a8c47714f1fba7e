"""Model servers on this machine that are none: each answers what it is told to, or behaves oddly."""

import json
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = "".join(
    f"data: {json.dumps(event)}\n\n"
    for event in (
        {"model": "tiny", "choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]},
        {"model": "tiny", "choices": [{"index": 0, "delta": {"content": "Blue."}}]},
        {"model": "tiny", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"model": "tiny", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}},
    )
)


@contextmanager
def answering(answers, *, status=200, headers=(), protocol="HTTP/1.1"):
    """A server that answers a GET with JSON by its path, or 404; and each POST with "Blue.". Yields its port.

    ``answering.asked`` has the headers and the body of every POST.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_GET(self):
            found = answers.get(self.path)
            body = (
                found if isinstance(found, str) else json.dumps({"error": "no such path"} if found is None else found)
            )
            self._say(404 if found is None else status, body, "application/json")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            answering.asked.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            self._say(200, ANSWER, "text/event-stream")

        def _say(self, status, body, kind):
            self.send_response(status)
            for name, value in {
                "content-type": kind,
                "content-length": str(len(body.encode())),
                **dict(headers),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body.encode())

        def log_message(self, *args):
            pass

    answering.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def behaving(*pieces, again=None, waits=False):
    """A port where each connection gets these bytes, then one piece again and again, or nothing."""
    over = threading.Event()

    def serve(connection):
        with connection, suppress(OSError):
            if pieces or again:
                connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
            while again and not over.wait(0.02):
                connection.sendall(again)
            if waits:
                over.wait()

    def accept(listening, threads):
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listening.accept()[0],)))
                threads[-1].start()

    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads = []
        thread = threading.Thread(target=accept, args=(listening, threads))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            for each in (thread, *threads):
                each.join()


@contextmanager
def dropping():
    """A port whose queue is full: who connects hears nothing, as behind a firewall that drops packets."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
