"""A service that says which version of it is running."""

import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = Path(__file__).with_name("VERSION").read_text(encoding="utf-8").strip()


def answer(path: str) -> tuple[int, dict[str, str]]:
    """Status and body for a GET of `path`."""
    if path == "/healthz":
        return 200, {"status": "ok"}
    if path == "/":
        return 200, {"service": "hello", "version": VERSION, "revision": os.environ.get("HELLO_REVISION", "")}
    return 404, {"error": "there are / and /healthz"}


class Handler(BaseHTTPRequestHandler):
    """Answers GET with JSON."""

    def do_GET(self) -> None:
        status, body = answer(self.path)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Leave probes out of the log."""


def main() -> None:
    """Serve on port 8080 until SIGTERM, which Kubernetes sends; PID 1 has no default action for it."""
    server = ThreadingHTTPServer(("", 8080), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"hello {VERSION} listens on 8080", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
