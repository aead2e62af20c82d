"""Serves what Zuul's jobs leave behind: `python -m lab.loop.logserver FOLDER PORT`."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.layout import LOOPBACK
from lab.loop.places import LOGS_PORT, LOGS_URL, Places
from lab.plan import Probe, Server


def servers(places: Places) -> list[Server]:
    """The one server."""
    argv = (sys.executable, "-m", "lab.loop.logserver", str(places.job_logs), str(LOGS_PORT))
    return [Server("log-server", argv, Probe(url=f"{LOGS_URL}/"), (), ((LOOPBACK, LOGS_PORT),), LOGS_URL)]


class Handler(SimpleHTTPRequestHandler):
    """Files as text, for a browser and for Zuul's own pages."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".jsonl": "text/plain", ".log": "text/plain"}

    def translate_path(self, path: str) -> str:
        """The file for a URL; a job may have left a link to anywhere, and nothing is served from there."""
        found = super().translate_path(path)
        inside = Path(found).resolve().is_relative_to(Path(self.directory).resolve())
        return found if inside else f"{self.directory}/no-such-file"

    def end_headers(self) -> None:
        # What a job wrote may be anything: Zuul's pages may read it, and no browser may run it.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()


def main(folder: str, port: int) -> None:
    """Serve until the end."""
    with ThreadingHTTPServer((LOOPBACK, port), partial(Handler, directory=folder)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
