"""Names of images, by the grammar of the distribution project."""

from __future__ import annotations

import pytest

from cdlib.errors import UsageProblem
from cdlib.reference import DIGEST, TAG, Reference, parse

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python", Reference("docker.io", "library/python")),
        ("python:3.11", Reference("docker.io", "library/python", "3.11")),
        ("docker.io/me/x", Reference("docker.io", "me/x")),
        ("me/x", Reference("docker.io", "me/x")),
        ("localhost/x", Reference("localhost", "x")),
        ("localhost:5000/a/b:c", Reference("localhost:5000", "a/b", "c")),
        ("r.example.org/a", Reference("r.example.org", "a")),
        ("host:5000/a", Reference("host:5000", "a")),
        ("[::1]:5000/a", Reference("[::1]:5000", "a")),
        (f"r.test/a:1@{D}", Reference("r.test", "a", "1", D)),
        ("r.test/a__b-c.d", Reference("r.test", "a__b-c.d")),
    ],
)
def test_names_as_docker_reads_them(text: str, found: Reference) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER",
        "a b",
        "-x",
        "a:",
        "a@sha256:0",
        "a//b",
        "/a",
        "a/",
        "r.test/a:" + "x" * 129,
        "a:ü",
        "http://r/a",
        "a\n",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageProblem, match="no image name"):
        parse(text)


def test_parts_and_wholes() -> None:
    name = parse(f"localhost:5000/a/b:1@{D}")
    assert name.repository == "localhost:5000/a/b" and str(name) == f"localhost:5000/a/b:1@{D}"
    assert str(name.tagged("x")) == "localhost:5000/a/b:x" and str(name.at(D)) == f"localhost:5000/a/b@{D}"
    assert DIGEST.match(D) and not DIGEST.match(D + "\n") and not TAG.match("a\n") and TAG.match("v1.2-x_y")
