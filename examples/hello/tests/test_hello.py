"""The service over a real socket."""

import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import hello


@pytest.fixture()
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), hello.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status, json.load(answer)


def test_says_its_version(address, monkeypatch):
    monkeypatch.setenv("HELLO_REVISION", "abc123")
    assert get(address + "/") == (200, {"service": "hello", "version": hello.VERSION, "revision": "abc123"})


def test_is_healthy(address):
    assert get(address + "/healthz") == (200, {"status": "ok"})


def test_knows_no_other_path(address):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(address + "/secret")


def test_version_is_one_word():
    assert hello.VERSION
    assert len(hello.VERSION.split()) == 1
