"""Secrets out of everything that is shown or written."""

from __future__ import annotations

import time
import timeit

import pytest

from cdlib.redact import HIDDEN, Redactor


def test_values_of_secret_variables_and_what_was_told() -> None:
    redactor = Redactor(
        {"CD_TOKEN": "abcdefgh", "PATH": "/usr/bin:/bin", "SSH_AUTH_SOCK": "/run/agent.sock", "X_SECRET": "short"}
    )
    redactor.hide(["hunter2hunter2"])
    shown = redactor.text("abcdefgh /usr/bin:/bin /run/agent.sock hunter2hunter2 short")
    assert shown == f"{HIDDEN} /usr/bin:/bin /run/agent.sock {HIDDEN} short"


@pytest.mark.parametrize("name", ["GIT_AUTHOR_NAME", "CHANGE_AUTHOR", "CI_COMMIT_AUTHOR", "AUTHORS", "X_AUTHORITY"])
def test_who_wrote_a_commit_is_no_secret(name: str) -> None:
    assert Redactor({name: "deployer"}).text("by deployer") == "by deployer"


@pytest.mark.parametrize(
    "name", ["HTTP_AUTH", "TS_AUTHKEY", "OAUTH2_X", "HTTP_AUTHORIZATION", "auth", "DOCKER_AUTH_CONFIG"]
)
def test_what_lets_somebody_in_is_one(name: str) -> None:
    assert Redactor({name: "deployer"}).text("by deployer") == f"by {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("JENKINS_TOKEN_FILE: /run/abc: No such file", "JENKINS_TOKEN_FILE: /run/abc: No such file"),
        ("secret-path=/run/abc", "secret-path=/run/abc"),
        ("JENKINS_TOKEN: abcdefgh", f"JENKINS_TOKEN: {HIDDEN}"),
        ("token_file_x=abcdefgh", f"token_file_x={HIDDEN}"),
        ("TOKEN_FILE=https://x.test/?token=abcdefgh", f"TOKEN_FILE=https://x.test/?token={HIDDEN}"),
    ],
)
def test_the_path_of_a_secret_is_none(text: str, shown: str) -> None:
    assert Redactor({}).text(text) == shown


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Basic bWU6cGFzcw==", "bWU6cGFzcw"),
        ("authorization=Bearer abc.def-ghi", "abc.def"),
        ("bearer abcdefghijklmnopqrstuv", "abcdefghijklmnop"),
        ("https://me:hunter2@git.example.org/x", "hunter2"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIi"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----", "MHc="),
        ("-----BEGIN PRIVATE KEY-----\nMHc=", "MHc="),
        ('"password": "hunter2"', "hunter2"),
        ("?access_token=abcd1234&x=1", "abcd1234"),
    ],
)
def test_shapes_that_are_secret_wherever_they_turn_up(text: str, gone: str) -> None:
    shown = Redactor({}).text(text)
    assert gone not in shown and HIDDEN in shown


@pytest.mark.parametrize(
    "text", ["https://git.example.org/a:b@c", "token is missing", "a plain line", "sha256:" + "a" * 64]
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor({}).text(text) == text


def test_everything_inside_a_value() -> None:
    redactor = Redactor({})
    redactor.hide(["hunter2hunter2"])
    value = {"a": ["x hunter2hunter2", 1, None], "b": ("hunter2hunter2",)}
    assert redactor.value(value) == {"a": [f"x {HIDDEN}", 1, None], "b": [HIDDEN]}


def test_the_headers_that_traces_are_sent_with_are_secrets() -> None:
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        assert Redactor({name: "x-key=abcdefgh"}).text("with x-key=abcdefgh") == "with [hidden]"


@pytest.mark.parametrize(
    "shape",
    ["token-", "tokentoken", "token=", "password= ", "a-", "a://", "http://a:b", "a:", "eyJ-", "eyJaaaaaaaa.", "bearer ",
     "authorization: ", " ", "-----BEGIN ", "-----END ", "A "],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "authorization:", "bearer", "a://b:", "-----BEGIN ", "token"])
def test_no_text_takes_more_than_it_is_long(before: str, shape: str) -> None:
    """A log may be anything, and a rollback waits for it: eight times the text is not 64 times the time."""
    redactor = Redactor({})

    def least(size: int) -> float:
        text = before + shape * (size // len(shape))
        return min(timeit.repeat(lambda: redactor.text(text), timer=time.process_time, number=1, repeat=4))

    # Some shapes take microseconds, which are noise; what is quadratic takes far more than 0.1 ms for 4,000.
    assert least(32_000) < 24 * max(least(4_000), 1e-4)
