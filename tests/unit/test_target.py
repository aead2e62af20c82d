"""targets.yaml as objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdlib.errors import UsageProblem
from cdlib.service import HttpCheck
from cdlib.target import read_document, read_target

WHOLE = """
version: 1
registries: {"r.test:5000": {plain_http: true}, s.test: {}}
environments:
  staging: {policy: none, kubeconfig: staging.kubeconfig}
  production: {context: prod, policy: signed, budget: 2m, inconclusive: keep, verify: {http: [{path: /h}]}}
services:
  hello:
    project: p/hello
    candidates: r.test:5000/candidates/hello
    image: r.test:5000/hello
    moving_tags: [latest]
    allow: {test_network: true, frontends: [a], charts: [b]}
    environments:
      staging: {namespace: s, release: hello}
      production: {namespace: p, release: hello, values: [prod.yaml], url: "https://hello.test/"}
  other:
    image: r.test:5000/team/other
    environments: {production: {namespace: p, release: other}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "targets.yaml").write_text(WHOLE)
    return tmp_path / "targets.yaml"


def test_everything_that_can_be_said(path: Path) -> None:
    target = read_target(path, "hello")
    assert (target.project, str(target.image), str(target.candidates)) == (
        "p/hello", "r.test:5000/hello", "r.test:5000/candidates/hello",
    )  # fmt: skip
    assert target.moving_tags == ("latest",) and target.plain_http == {"r.test:5000"}
    assert target.allowed.test_network and target.allowed.frontends == ("a",) and target.allowed.charts == ("b",)
    production = target.environment("production")
    assert (production.namespace, production.release, production.url) == ("p", "hello", "https://hello.test")
    assert (
        production.values == (path.parent / "prod.yaml",) and production.budget == 120 and production.context == "prod"
    )
    assert production.inconclusive == "keep" and production.verify.http == (HttpCheck("/h"),)
    assert target.environment("staging").kubeconfig == path.parent / "staging.kubeconfig"
    assert target.strictest_policy == "signed"


def test_what_is_not_said_is_strict(path: Path) -> None:
    other = read_target(path, "other")
    assert str(other.candidates) == "r.test:5000/candidates/team/other" and other.project == "other"
    assert not other.allowed.test_network and other.allowed.frontends == () and other.moving_tags == ()
    assert other.environment("").name == "production"
    path.write_text(WHOLE.replace("policy: signed, ", ""))
    assert read_target(path, "other").environment("").policy == "reviewed"


def test_environments_must_be_named_where_there_are_several(path: Path) -> None:
    target = read_target(path, "hello")
    for name in ("", "qa"):
        with pytest.raises(UsageProblem) as caught:
            target.environment(name)
        assert "production, staging" in caught.value.hint


def test_no_file_no_service_no_text(path: Path) -> None:
    with pytest.raises(UsageProblem, match="no targets.yaml"):
        read_target(None, "hello")
    with pytest.raises(UsageProblem, match="knows no service 'x'") as caught:
        read_target(path, "x")
    assert "hello, other" in caught.value.hint
    with pytest.raises(UsageProblem, match="No such file"):
        read_target(path.with_name("none"), "hello")
    with pytest.raises(UsageProblem, match="Is a directory"):
        read_target(path.parent, "hello")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageProblem, match="no UTF-8"):
        read_document(path)


def test_all_mistakes_at_once(path: Path) -> None:
    path.write_text(
        WHOLE.replace("policy: none", "policy: maybe").replace("image: r.test:5000/hello", "image: r.test/UP")
    )
    with pytest.raises(UsageProblem, match="2 mistakes") as caught:
        read_document(path)
    assert [d.partition(":")[0] for d in caught.value.details] == [
        "environments.staging.policy",
        "services.hello.image",
    ]
    path.write_text(WHOLE.replace("      staging: {namespace", "      qa: {namespace"))
    with pytest.raises(UsageProblem, match=r"has 1 mistake$") as caught:
        read_document(path)
    assert "services.hello.environments.qa: no such environment" in caught.value.details[0]


def test_keys_are_files_beside_it_by_what_they_may_say(path: Path) -> None:
    assert read_target(path, "hello").keys == {}
    path.write_text(WHOLE + "keys: {provenance: [keys/a.pub, /b.pub], permit: [c.pub]}\n")
    assert read_target(path, "hello").keys == {
        "provenance": (path.parent / "keys/a.pub", Path("/b.pub")),
        "permit": (path.parent / "c.pub",),
    }
    for wrong in ("{permits: [a]}", "{permit: a}", "{permit: []}", "{permit: [a, a]}", "{permit: ['']}"):
        path.write_text(f"{WHOLE}keys: {wrong}\n")
        with pytest.raises(UsageProblem, match="mistake") as caught:
            read_target(path, "hello")
        assert caught.value.details[0].startswith("keys")
