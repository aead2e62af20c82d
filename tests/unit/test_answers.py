"""What answers over HTTP have in common."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from typing import Any

import pytest
import requests
from stand_ins import Fault, Server

from cdlib.answers import pieces, retry_after, words
from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, UsageProblem
from cdlib.gerrit.credentials import Credentials
from cdlib.gerrit.rest import Rest
from cdlib.jenkins import http as jenkins
from cdlib.registry.answers import read_answer
from cdlib.registry.connection import Connections
from cdlib.rollout import verify
from cdlib.service import HttpCheck


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("nan", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2970 00:00:00 -0000", 0),
    ],
)
def test_how_long_a_server_asks_to_wait(said: str, seconds: float) -> None:
    assert retry_after({"Retry-After": said}) == seconds


def test_until_when_a_server_asks_to_wait() -> None:
    then = datetime.now(UTC) + timedelta(seconds=60)
    assert 50 < retry_after({"Retry-After": format_datetime(then, usegmt=True)}) <= 60
    assert retry_after({}) == 0


def test_the_words_of_a_plain_answer() -> None:
    assert words(b" not\n here \xff") == "not here \ufffd"
    assert words(b"<HTML><body>a proxy's page</body>") == ""
    assert len(words(b"a " * 5000)) == 300


@contextmanager
def dripping(kind: str) -> Iterator[str]:
    """The address of a server that promises a long body, and sends a byte of it each 50 ms."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            with suppress(OSError):
                while True:
                    asked, _ = listening.accept()
                    with asked, suppress(OSError):
                        asked.recv(65536)
                        asked.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{kind}\r\n\r\n".encode())
                        for _ in range(100):
                            time.sleep(0.05)
                            asked.sendall(b"1\r\nx\r\n" if "chunked" in kind else b"x")

        threading.Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def of_jenkins(url: str, deadline: Deadline) -> object:
    return jenkins.Server(url, "", "").read("x", "asking", deadline)


def of_jenkins_artifact(url: str, deadline: Deadline) -> object:
    return jenkins.Server(url, "", "").download("x", "asking", deadline, BytesIO(), 1000, away=True)


def of_gerrit(url: str, deadline: Deadline) -> object:
    return Rest(url, Credentials("me", "word"), deadline).get("x", "asking")


def of_registry(url: str, deadline: Deadline) -> object:
    response = Connections("", direct=True).open("GET", url, {}, None, deadline, "asking")
    return read_answer(response, "host", "asking", deadline)


def of_service(url: str, deadline: Deadline) -> object:
    nobody: Any = None  # no API is asked
    return verify._ask(nobody, verify.Request(HttpCheck("/"), url, through_api=False), deadline)


@pytest.mark.parametrize("ask", [of_jenkins, of_jenkins_artifact, of_gerrit, of_registry, of_service])
@pytest.mark.parametrize("kind", ["Content-Length: 100", "Transfer-Encoding: chunked", "Connection: close"])
def test_slow_bytes_do_not_outlast_the_limit(ask: Callable[[str, Deadline], object], kind: str) -> None:
    with dripping(kind) as url:
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            ask(url, Deadline(0.4))
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("location", ["https://[", "//", "http://x:y/", "\\0"])
def test_a_redirect_to_no_address_is_an_answer_like_others(location: str) -> None:
    """What is deployed answers as it likes, and must not be able to end a deploy by it."""
    server = Server(lambda seen: (302, {"Location": location}, b"moved"))
    assert of_service(server.url, Deadline(5)) == (302, "moved")
    for ask in (of_jenkins, of_gerrit):
        with pytest.raises(UsageProblem):
            ask(server.url, Deadline(5))
    server.close()


def test_pieces_are_decoded_and_a_connection_serves_again() -> None:
    text = b"all of it " * 50_000
    headers = {"Content-Encoding": "gzip"}
    server = Server(lambda seen: (200, headers, gzip.compress(text)))
    with requests.Session() as session:
        ports = set()
        for _ in range(3):
            with session.get(server.url, stream=True) as response:
                ports.add(response.raw.connection.sock.getsockname())
                assert b"".join(pieces(response, Deadline(5), "asking")) == text
    assert len(ports) == 1
    server.close()


@pytest.mark.parametrize(("fault", "kind"), [(Fault("GET", "", 200, b"half", cut=True), requests.ConnectionError),
                                             (Fault("GET", "", 200, b"no gzip, but text", {"Content-Encoding": "gzip"}),
                                              requests.ConnectionError)])  # fmt: skip
def test_a_body_that_is_cut_or_spoilt_is_an_error(fault: Fault, kind: type[Exception]) -> None:
    server = Server(lambda seen: (200, {}, b""))
    assert b"".join(pieces(requests.get(server.url, stream=True, timeout=5), Deadline(5), "asking")) == b""
    server.faults.append(fault)
    with requests.get(server.url, stream=True, timeout=5) as response, pytest.raises(kind):
        list(pieces(response, Deadline(5), "asking"))
    server.close()
