"""Answers as Blubberoid 0.23 does, as far as a deploy can see: for where the real one cannot be built.

POST /v1/{variant} takes JSON, which is YAML as well; other YAML is malformed to it.
"""

import json
import os
import re
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8748
TYPES = ("application/json", "application/yaml", "application/x-yaml")
SPEC = {
    "openapi": "3.0.0",
    "info": {"title": "Blubberoid (a stand-in)", "version": "0.23.0"},
    "paths": {"/v1/{variant}": {"post": {"summary": "A blubber.yaml's variant as a Dockerfile"}}},
}


def answer(method: str, path: str, kind: str = "", body: bytes = b"") -> tuple[int, str, str]:
    """Status, content type and body for one request."""
    if (method, path) == ("GET", "/?spec"):
        return 200, "application/json", json.dumps(SPEC)
    found = re.fullmatch(r"/v1/([^/?]+)", path)
    if found is None:
        return 404, "text/plain", "404 page not found\n"
    if method != "POST":
        return 400, "text/plain", "only POST is answered\n"
    if kind and kind not in TYPES:
        return 415, "text/plain", f"'{kind}' media type is not supported\n"
    return _dockerfile(found[1], body)


def _dockerfile(variant: str, body: bytes) -> tuple[int, str, str]:
    try:
        document = json.loads(body)
        variants = document.get("variants") or {}
        section = variants.get(variant)
        base = (section or {}).get("base", document.get("base", ""))
    except (ValueError, AttributeError, RecursionError):
        return 400, "text/plain", "failed to read the configuration\n"
    if document.get("version") != "v4":
        return 422, "text/plain", f"config version {json.dumps(document.get('version'))} is unsupported\n"
    if section is None:
        return 422, "text/plain", f"variant '{variant}' does not exist\n"
    return 200, "text/plain", f'FROM {base} AS {variant}\nUSER "900"\nLABEL blubber.variant="{variant}"\n'


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size <= 2**20 else b""
        status, kind, text = answer(self.command, self.path, self.headers.get("Content-Type", ""), body)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Leave probes out of the log."""


def main() -> None:
    """Serve on port 8748 until SIGTERM, which Kubernetes sends; PID 1 has no default action for it."""
    server = ThreadingHTTPServer(("", PORT), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"a stand-in for Blubberoid listens on {PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
