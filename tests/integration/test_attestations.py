"""Attestations against a real registry, a real Engine, and cosign: from a build to what a deploy may ask for."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from images import Workshop, new_workshop
from manuals import follow
from signing import Signers, new_signers

from cdlib.deadline import Deadline
from cdlib.errors import Refused
from cdlib.image.promote import promote
from cdlib.reference import parse
from cdlib.registry.repository import Repository
from cdlib.registry.transport import Transport
from cdlib.trust.attached import Attestation, attach, fetch
from cdlib.trust.evidence import Wanted, prove
from cdlib.trust.permit import Asked, Spent, issue, permit_for
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement, read_statement
from cdlib.trust.summary import Place
from lab.testing import Repository as Folder
from lab.testing import RunningLab

# Writes no file, and asks no server but the registry.
OFFLINE = {"SIGSTORE_ROOT_FILE": "/dev/null", "COSIGN_PASSWORD": ""}
PASSED = '<testsuite><testcase classname="a.B" name="one"/></testsuite>'
FAILED = '<testsuite><testcase classname="a.B" name="one"><failure message="no"/></testcase></testsuite>'


def there(name: str, seconds: float = 60) -> Repository:
    reference = parse(name)
    return Repository(Transport(reference.host, Deadline(seconds)), reference.path)


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    return new_signers(tmp_path / "keys")


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Folder], tmp_path: Path, signers: Signers) -> Iterator[Workshop]:
    """A service whose tests pass, and a targets.yaml that lists the keys."""
    made = new_workshop(lab, repo, tmp_path)
    script = f"mkdir -p /reports; echo '{PASSED}' > /reports/a.xml"
    made.write(cd__yaml=json.dumps({"service": made.name, "test": {"command": ["sh", "-c", script]}}))
    path = made.target()
    keys = {purpose: [str(file) for file in files] for purpose, files in signers.files.items()}
    path.write_text(json.dumps({**json.loads(path.read_text()), "keys": keys}))
    yield made
    made.forget()


def candidates(work: Workshop) -> str:
    return f"{work.lab.registry}/t/candidates/{work.name}"


def wanted(work: Workshop, digest: str) -> Wanted:
    tree, commit = work.repository.git("rev-parse", "HEAD^{tree}", "HEAD").split()
    return Wanted(digest, work.name, "production", tree, commit)


def cosign(lab: RunningLab, *args: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    env = {**lab.env, **OFFLINE, "HOME": str(home)}
    return subprocess.run([lab.cosign, *args], env=env, capture_output=True, text=True, timeout=120)


def verified(lab: RunningLab, key: Path, kind: str, image: str, home: Path) -> bool:
    """Whether cosign accepts an attestation of `kind` by `key`."""
    argv = ("verify-attestation", "--key", key, "--insecure-ignore-tlog=true", "--type", kind, image)
    done = cosign(lab, *argv, home=home)
    assert done.returncode == 0 or "no matching attestations" in done.stderr or "none of the att" in done.stderr, (
        done.stderr
    )
    return done.returncode == 0


def test_from_a_build_to_a_proof(work: Workshop, signers: Signers) -> None:
    built = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert built.code == 0, built.err
    (said,) = built.result["attested"]
    digest = said.rpartition("@")[2]
    assert said == f"{PROVENANCE} {candidates(work)}@{digest}"
    with pytest.raises(Refused, match="no test result proves"):
        prove(fetch(there(candidates(work)), digest), wanted(work, digest), signers.ring)
    tested = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert tested.code == 0 and tested.result["attested"] == [f"{TEST_RESULT} {candidates(work)}@{digest}"], tested.err
    found = prove(fetch(there(candidates(work)), digest), wanted(work, digest), signers.ring)
    definition = found.provenance.predicate["buildDefinition"]
    tree, base = definition["resolvedDependencies"]
    assert tree["digest"]["gitTree"] == wanted(work, digest).tree and base["uri"].endswith("/lab/python:3.11-slim")
    image = next(each for each in built.result["images"] if each["variant"] == "production")
    assert definition["internalParameters"]["key"] == image["key"] and not definition["internalParameters"]["reused"]
    # What was found is used again, and what was attested is not attested again.
    assert work.run("publish-tag", "--candidate").result["outcome"] == "unchanged"
    again = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert again.code == 0 and "attested" not in again.result, again.err
    published = work.run("publish-tag")
    assert published.code == 0 and published.result["digest"] == digest, published.err
    prove(fetch(there(f"{work.lab.registry}/t/{work.name}"), digest), wanted(work, digest), signers.ring)


def test_what_was_proved_is_published_although_its_base_moves(work: Workshop, signers: Signers) -> None:
    host, base = work.lab.registry, there(f"{work.lab.registry}/t/base-{work.name}")
    python = there(f"{host}/lab/python")
    first = python.manifest("3.11-slim")
    assert first
    promote(python, base, first)
    base.put_manifest("1", first)
    dockerfile = (work.folder / "Dockerfile").read_text()
    assert f"{host}/lab/python:3.11-slim" in dockerfile
    work.write(Dockerfile=dockerfile.replace(f"{host}/lab/python:3.11-slim", f"{host}/{base.path}:1"))
    targets = Path(work.env["CD_TARGETS"])
    targets.write_text(json.dumps({**json.loads(targets.read_text()), "environments": {"lab": {"policy": "reviewed"}}}))
    work.env.update(ZUUL_PIPELINE="gate", ZUUL_UUID="u", ZUUL_PROJECT="p", BUILD_URL="https://jenkins.test/job/g/7/")
    built = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert built.code == 0, built.err
    digest = built.result["attested"][0].rpartition("@")[2]
    tested = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert tested.code == 0, tested.err
    ours = there(candidates(work)).manifest(digest)
    assert ours
    promote(there(candidates(work)), base, ours)
    base.put_manifest("1", ours)
    work.env["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    published = work.run("publish-tag")
    assert published.code == 0 and published.result["digest"] == digest, published.err


def test_failed_tests_are_attested_as_failed_and_the_latest_result_counts(work: Workshop, signers: Signers) -> None:
    script = f"mkdir -p /reports; echo '{FAILED}' > /reports/a.xml"
    work.write(cd__yaml=json.dumps({"service": work.name, "test": {"command": ["sh", "-c", script]}}))
    early = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert early.code == 4 and "is not attested: " in early.err and "no candidate" in early.err
    built = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    digest = built.result["attested"][0].rpartition("@")[2]
    tested = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert tested.code == 4 and "1 of 1 tests failed" in tested.problem[0], tested.err
    with pytest.raises(Refused, match="did not pass: the latest result is FAILED, 0 passed, 1 failed"):
        prove(fetch(there(candidates(work)), digest), wanted(work, digest), signers.ring)


def test_a_good_result_that_cannot_be_attested_is_no_good_result(work: Workshop, signers: Signers) -> None:
    done = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert done.code == 5 and "no candidate of this tree" in done.problem[0] and "build-image" in done.err


def test_a_candidate_that_nobody_vouches_for_makes_way(work: Workshop, signers: Signers) -> None:
    work.run("build-image")
    before = work.run("publish-tag", "--candidate").result["digest"]
    forged = make_statement("x", before, PROVENANCE, {}, signers.key("stranger"))
    attach(there(candidates(work)), before, [Attestation(forged, PROVENANCE)])
    built = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert built.code == 0 and "✓ push" in built.err, built.err
    (said,) = built.result["attested"]
    key = next(each["key"] for each in built.result["images"] if each["variant"] == "production")
    assert there(candidates(work)).digest(f"production-{key}") == said.rpartition("@")[2]


def test_outside_the_gate_nothing_is_attested_where_there_is_a_policy(work: Workshop, signers: Signers) -> None:
    targets = Path(work.env["CD_TARGETS"])
    document = json.loads(targets.read_text())
    targets.write_text(json.dumps({**document, "environments": {"lab": {"policy": "signed"}}}))
    refused = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert refused.code == 6 and work.tags(f"t/candidates/{work.name}") == {}
    work.env.update(ZUUL_PIPELINE="gate", ZUUL_UUID="u", ZUUL_PROJECT="p", BUILD_URL="https://jenkins.test/job/g/7/")
    done = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert done.code == 0, done.err
    digest = done.result["attested"][0].rpartition("@")[2]
    statement = read_statement(fetch(there(candidates(work)), digest)[0], signers.ring)
    details = statement.predicate["runDetails"]
    assert details["builder"]["id"] == "https://jenkins.test"
    assert details["metadata"]["invocationId"] == "https://jenkins.test/job/g/7/"
    untested = work.run("publish-tag")
    assert untested.code == 6 and "no test result proves" in untested.problem[0], untested.err
    assert work.run("run-tests", "--signing-key", str(signers.file("test-result"))).code == 0
    published = work.run("publish-tag")
    assert published.code == 0 and published.result["digest"] == digest, published.err


def test_eight_writers_at_once_lose_nothing(lab: RunningLab, signers: Signers) -> None:
    name = f"{lab.registry}/t/att-{secrets.token_hex(4)}"
    for number in range(3):
        digest = f"sha256:{number:064x}"
        made = [make_statement(name, digest, PROVENANCE, {"n": n}, signers.key("provenance")) for n in range(8)]
        start = Barrier(len(made))

        def write(envelope: bytes, digest: str = digest, start: Barrier = start) -> None:
            repository = there(name)
            start.wait(30)
            attach(repository, digest, [Attestation(envelope, PROVENANCE)])

        with ThreadPoolExecutor(len(made)) as writers:
            list(writers.map(write, made))
        assert set(fetch(there(name), digest)) == set(made)


def test_the_same_attestation_by_several_writers_at_once(lab: RunningLab, signers: Signers) -> None:
    name, digest = f"{lab.registry}/t/att-{secrets.token_hex(4)}", "sha256:" + "1" * 64
    made = make_statement(name, digest, PROVENANCE, {}, signers.key("provenance"))
    start = Barrier(4)

    def write(_: int) -> None:
        repository = there(name)
        start.wait(30)
        attach(repository, digest, [Attestation(made, PROVENANCE)])

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    assert fetch(there(name), digest) == [made]


def test_cosign_accepts_ours(work: Workshop, signers: Signers, tmp_path: Path) -> None:
    work.run("build-image", "--signing-key", str(signers.file("provenance")))
    work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    published = work.run("publish-tag").result
    image = f"{work.lab.registry}/t/{work.name}@{published['digest']}"
    asked = Asked("deploy", Place("lab", "c", "x", "x"), "c" * 40, "1,1", f"{work.lab.registry}/t/{work.name}", published["digest"],
                  "sha256:" + "1" * 64, "sha256:" + "2" * 64, "sha256:" + "3" * 64)  # fmt: skip
    permit = issue(permit_for(asked, Spent(), by="https://jenkins.test"), signers.key("permit"))
    attach(there(f"{work.lab.registry}/t/{work.name}"), published["digest"], [Attestation(permit, SUMMARY)])
    (tmp_path / "keys" / "build.pub").write_bytes(signers.files["provenance"][0].read_bytes())
    page, bin_ = Path(__file__).parents[2] / "docs" / "keys.md", str(work.lab.cosign.parent)
    says = follow(page, "verify-with-cosign", tmp_path, {"registry.example.org/hello@sha256:…": image},
                  PATH=f"{bin_}:{os.environ['PATH']}")  # fmt: skip
    assert json.loads(says)["payloadType"] == "application/vnd.in-toto+json"
    for purpose, kind in (("provenance", PROVENANCE), ("test-result", TEST_RESULT), ("permit", SUMMARY)):
        assert verified(work.lab, signers.files[purpose][0], kind, image, tmp_path)
        assert not verified(work.lab, signers.folder / "stranger.pub", kind, image, tmp_path)
    assert not verified(work.lab, signers.files["provenance"][0], TEST_RESULT, image, tmp_path)
    assert not (tmp_path / ".sigstore").exists()


def test_what_cosign_writes_is_read_and_neither_loses_the_others(
    work: Workshop, signers: Signers, tmp_path: Path
) -> None:
    built = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    digest = built.result["attested"][0].rpartition("@")[2]
    imported = cosign(work.lab, "import-key-pair", "--key", signers.file("test-result"), "--output-key-prefix",
                      tmp_path / "theirs", home=tmp_path)  # fmt: skip
    assert imported.returncode == 0, imported.stderr
    (tmp_path / "predicate.json").write_text(json.dumps({"result": "PASSED", "configuration": []}))
    image = f"{candidates(work)}@{digest}"
    done = cosign(work.lab, "attest", "--key", tmp_path / "theirs.key", "--tlog-upload=false", "-y", "--type", TEST_RESULT,
                  "--predicate", tmp_path / "predicate.json", image, home=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert work.run("run-tests", "--signing-key", str(signers.file("test-result"))).code == 0
    read = [read_statement(each, signers.ring) for each in fetch(there(candidates(work)), digest)]
    assert [each.predicate_type for each in read] == [PROVENANCE, TEST_RESULT, TEST_RESULT]
    assert read[1].predicate == {"result": "PASSED", "configuration": []} and read[1].digests == (digest,)
    # It does not say of which tree it speaks, and so proves nothing here; ours does.
    prove(fetch(there(candidates(work)), digest), wanted(work, digest), signers.ring, datetime.now(UTC))
    assert verified(work.lab, signers.files["test-result"][0], TEST_RESULT, image, tmp_path)


def test_no_key_is_in_anything_that_is_left(work: Workshop, signers: Signers) -> None:
    secret = [line for line in signers.file("provenance").read_text().splitlines() if "-----" not in line]
    work.env["CD_SIGNING_KEY"] = str(signers.file("provenance"))
    done = work.run("build-image", "--json")
    assert done.code == 0, done.err
    left = [path.read_text(errors="replace") for path in (work.folder / ".cd").rglob("*") if path.is_file()]
    assert not any(line in text for line in secret for text in (done.out, done.err, *left))
