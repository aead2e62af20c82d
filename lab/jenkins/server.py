"""The HTTP server: requests in, answers out, with what Jenkins adds to each."""

from __future__ import annotations

import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.jenkins.answers import Answer, Request, pairs
from lab.jenkins.controller import Controller
from lab.jenkins.rights import Denied, Gate
from lab.jenkins.routes import Routes

VERSION = "2.516.2"
_STARTING = (
    b"<html><head><title>Starting Jenkins</title></head><body>Please wait while Jenkins is getting ready</body></html>"
)
_LARGEST = 8 * 2**20  # bytes of a body


class Server(ThreadingHTTPServer):
    """Serves one controller."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], controller: Controller, *, tell: bool = False) -> None:
        self.controller = controller
        self.tell = tell  # whether each request is printed
        self.gate = Gate(controller.settings, controller.session)
        self.routes = Routes(controller, self.gate)
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 60  # seconds that an idle connection is kept
    wbufsize = -1  # an answer in one piece: in two, each would wait 40 ms for an acknowledgement
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        controller = self.server.controller
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LARGEST))
        if len(self.path) > controller.settings.longest_url:
            self._send(Answer(414, b"URI Too Long", {"Connection": "close"}))
        elif not controller.ready:
            self._send(Answer(503, _STARTING, {"Content-Type": "text/html;charset=utf-8"}))
        else:
            try:
                self._send(self._answer(body))
            except Denied as denied:
                text = f"<html><body><h2>HTTP ERROR {denied.status} {denied.text}</h2></body></html>"
                headers = {"Content-Type": "text/html;charset=utf-8", **denied.headers}
                self._send(Answer(denied.status, text.encode(), headers))

    do_POST = do_GET

    def _answer(self, body: bytes) -> Answer:
        address = urllib.parse.urlsplit(self.path)
        is_form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        caller = self.server.gate.caller(self.headers)  # type: ignore[arg-type]
        if self.command == "POST":
            self.server.gate.require_crumb(caller, self.headers)  # type: ignore[arg-type]
        request = Request(
            self.command,
            urllib.parse.unquote(address.path),
            pairs(address.query),
            pairs(body.decode("utf-8", "replace")) if is_form else {},
            body,
            caller,
        )
        return self.server.routes.answer(request)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        own = {"X-Jenkins": VERSION, "X-Jenkins-Session": self.server.controller.session}
        for name, value in {**own, **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.tell:
            print(f"{self.command} {self.path.partition('?')[0]} {args[1]}", flush=True)
