"""A Sentry of the test's own: it takes what is sent, and shows it."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_SECONDS = 60


class Endpoint(ThreadingHTTPServer):
    """Takes envelopes (https://develop.sentry.dev/sdk/data-model/envelopes/)."""

    daemon_threads = True

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """The events so far."""
        self.text = ""
        """Everything that was sent so far, as it was sent."""
        self.asked = threading.Event()
        """Whether something was sent."""
        self.answering = threading.Event()
        """Whether it answers; it hangs until then."""
        self.answering.set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"

    def take(self, envelope: str) -> None:
        """Keep the events of an envelope."""
        lines = [json.loads(line) for line in envelope.split("\n") if line]
        with self._changed:
            self.text += envelope
            items = zip(lines[1::2], lines[2::2], strict=True)
            self.events += [payload for header, payload in items if header["type"] == "event"]
            self._changed.notify_all()

    def wait(self, count: int = 1) -> list[dict[str, Any]]:
        """The events, once there are as many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, PATIENCE_SECONDS)
            return self.events


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.answering.wait(PATIENCE_SECONDS)
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.take(body.decode())
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def sentry() -> Iterator[Endpoint]:
    """An endpoint, listening."""
    with Endpoint() as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, args=[0.01])
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.answering.set()
            endpoint.shutdown()
            thread.join()
