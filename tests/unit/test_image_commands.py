"""The image commands against a registry that fails in every way a registry can."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from signing import Signers, new_signers
from stand_ins import Fault, StandInRegistry, basic_auth

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.documents import schema_mistakes
from cdlib.errors import Refused, RegistryRefused
from cdlib.image import testrun
from cdlib.image.built import find_built
from cdlib.image.junit import Tests
from cdlib.image.platforms import HERE, Platforms
from cdlib.image.publish import publish
from cdlib.image.work import Work, open_work
from cdlib.interruptions import INTERRUPTIONS
from cdlib.promotion.attesting import attest_build, attest_tests, open_witness
from cdlib.promotion.authorizing import find_image
from cdlib.reference import Reference
from cdlib.registry.repository import Repository
from cdlib.registry.transport import Transport
from cdlib.run import Run
from cdlib.trust.attached import Attestation, attach, fetch
from cdlib.trust.permit import Asked, Spent, issue, permit_for
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement
from cdlib.trust.summary import DEPLOY, Place
from jobs import build_image, publish_tag, run_tests

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("CD_", "ZUUL_", "JENKINS_", "BUILD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "RETRY_AFTER_CAP", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")  # nothing here needs Docker
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)
    gc.collect()  # docker-py leaves its socket open where it cannot connect


@pytest.fixture
def service(tmp_path: Path, git: Any, registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service whose candidate is in the registry."""
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "cd.yaml").write_text("service: hello\n")
    (folder / "Dockerfile").write_text("FROM scratch AS test\nCOPY . /x\nFROM test AS production\n")
    git(folder)
    target = {"image": f"{registry.host}/hello", "candidates": f"{registry.host}/candidates/hello", "moving_tags": ["latest"],
              "environments": {"lab": {"namespace": "x", "release": "x"}}}  # fmt: skip
    document = {"version": 1, "environments": {"lab": {"policy": "none"}}, "services": {"hello": target}}
    (tmp_path / "targets.yaml").write_text(json.dumps(document))
    monkeypatch.setenv("CD_TARGETS", str(tmp_path / "targets.yaml"))
    plan = open_work(Run("test", Deadline(9)), folder, tmp_path / "targets.yaml").plan("production")
    registry.add_image("candidates/hello", plan.candidate_tag, labels=dict(plan.labels))
    return folder


def call(command: Any, folder: Path, *args: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as caught:
        command.main.main(["-C", str(folder), *args])
    result: dict[str, Any] = json.loads((folder / ".cd" / "cd-result.json").read_text())
    assert schema_mistakes(result, "result") == [] and result["exit_code"] == caught.value.code
    return result["exit_code"], result


def test_a_candidate_becomes_a_release_byte_for_byte(service: Path, registry: StandInRegistry) -> None:
    code, result = call(publish_tag, service)
    assert code == 0 and result["outcome"] == "done"
    (digest,) = set(registry.tags("hello").values())
    assert result["digest"] == digest and set(registry.tags("hello")) == {result["tag"], "latest"}
    assert registry.manifests["hello"][result["tag"]] == registry.manifests["candidates/hello"][digest]
    writes = [seen.path.rpartition("/")[2] for seen in registry.requests("PUT", "/hello/manifests/")]
    assert writes == [digest, "latest", result["tag"]] and not registry.requests("PUT", "blobs")
    registry.seen.clear()
    code, result = call(publish_tag, service)
    assert code == 0 and result["outcome"] == "unchanged" and {seen.method for seen in registry.seen} == {"GET", "HEAD"}


def test_another_variant_takes_neither_the_commits_own_tag_nor_those_that_move(
    service: Path, registry: StandInRegistry
) -> None:
    plan = open_work(Run("test", Deadline(9)), service, service.parent / "targets.yaml").plan("test")
    digest = registry.add_image("candidates/hello", plan.candidate_tag, labels=dict(plan.labels))
    code, result = call(publish_tag, service, "--variant", "test")
    assert code == 0 and result["digest"] == digest and result["tag"].endswith("-test")
    assert set(registry.tags("hello")) == {result["tag"]}
    code, deployed = call(publish_tag, service)
    assert code == 0 and f"{deployed['tag']}-test" == result["tag"] and deployed["digest"] != digest
    assert registry.tags("hello")["latest"] == deployed["digest"]


def test_who_breaks_the_glass_finds_the_candidate_outside_of_any_pipeline(
    service: Path, registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ZUUL_") or name in ("BUILD_TAG", "CD_ZUUL")]:
        monkeypatch.delenv(name)
    targets = service.parent / "targets.yaml"
    document = json.loads(targets.read_text())
    document["environments"] = {name: {"policy": "reviewed"} for name in document["environments"]}
    targets.write_text(json.dumps(document))
    work = open_work(Run("test", Deadline(9), out=service), service, targets, need_target=True)
    with pytest.raises(Refused, match="no pipeline"):
        find_image(work)
    (digest,) = set(registry.tags("candidates/hello").values())
    assert find_image(work, digest=digest, by_hand=True).digest == digest
    with pytest.raises(RegistryRefused):
        find_image(work, digest="sha256:" + "0" * 64, by_hand=True)


FAILURES = [
    ("GET", "candidates/hello/manifests", 401, 77), ("GET", "candidates/hello/manifests", 403, 77),
    ("GET", "candidates/hello/manifests", 429, 69), ("GET", "candidates/hello/manifests", 500, 69),
    ("HEAD", "/hello/manifests", 403, 77), ("HEAD", "/hello/manifests", 502, 69),
    ("POST", "/hello/blobs/uploads", 401, 77), ("POST", "/hello/blobs/uploads", 404, 5),
    ("POST", "/hello/blobs/uploads", 500, 69), ("PUT", "/hello/manifests", 403, 77), ("PUT", "/hello/manifests", 400, 5),
    ("PUT", "/hello/manifests", 429, 69), ("PUT", "/hello/manifests", 507, 69),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status", "code"), FAILURES)
def test_each_failure_has_its_code_and_leaves_no_tag(
    service: Path,
    registry: StandInRegistry,
    capsys: pytest.CaptureFixture[str],
    method: str,
    path: str,
    status: int,
    code: int,
) -> None:
    registry.faults.append(Fault(method, path, status, b'{"errors":[{"code":"X","message":"says the registry"}]}'))
    exit_code, result = call(publish_tag, service)
    shown = capsys.readouterr().err
    assert exit_code == code and "next: " in shown and "Traceback" not in shown
    assert result["error"]["message"].count("\n") == 0 and registry.tags("hello") == {}


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_that_is_cut_is_tried_again(service: Path, registry: StandInRegistry, method: str) -> None:
    registry.faults.append(Fault(method, "hello/manifests", drop=True, times=2))
    assert call(publish_tag, service)[0] == 0
    registry.faults.append(Fault("GET", "hello/manifests", 200, b"{", cut=True))
    assert call(publish_tag, service, "--tag", "other")[0] == 69


def test_trouble_that_passes_is_no_trouble(service: Path, registry: StandInRegistry) -> None:
    for method in ("GET", "HEAD", "POST", "PUT"):
        registry.faults.append(Fault(method, "", 503, headers={"Retry-After": "1"}, times=2))
    assert call(publish_tag, service)[0] == 0


def test_a_registry_that_does_not_mount_is_given_the_bytes(service: Path, registry: StandInRegistry) -> None:
    registry.mounts = False
    assert (
        call(publish_tag, service)[0] == 0 and not registry.open_uploads and len(registry.requests("PUT", "blobs")) == 2
    )


def test_a_tag_that_another_run_moves_meanwhile_is_told(service: Path, registry: StandInRegistry) -> None:
    registry.add_image("hello", "theirs", text="theirs")
    kind, raw = registry.manifests["hello"]["theirs"]
    registry.faults.append(Fault("GET", "/hello/manifests/v1$", 200, raw, {"Content-Type": kind}))
    code, result = call(publish_tag, service, "--tag", "v1")
    assert code == 5 and "reads back as" in result["error"]["message"]


def test_no_secret_in_anything_that_is_left(
    service: Path, registry: StandInRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.auth = basic_auth("me", "hunter2hunter2")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(
        json.dumps({"auths": {registry.host: {"auth": "bWU6aHVudGVyMmh1bnRlcjI="}}})
    )
    assert call(publish_tag, service)[0] == 0
    registry.faults.append(Fault("GET", "candidates", 400, b"you sent Authorization: Basic bWU6aHVudGVyMmh1bnRlcjI="))
    assert call(publish_tag, service, "--tag", "x")[0] == 5
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, *(p.read_text() for p in (service / ".cd").iterdir())):
        assert "hunter2" not in text and "aHVudGVyMmh1" not in text


@pytest.mark.parametrize(("status", "code"), [(401, 77), (403, 77), (404, 5), (429, 69), (500, 69)])
def test_a_base_image_whose_registry_fails(
    service: Path, registry: StandInRegistry, git: Any, status: int, code: int
) -> None:
    (service / "Dockerfile").write_text(f"FROM {registry.host}/base:1 AS test\n")
    git(service)
    registry.faults.append(Fault("HEAD", "base", status))
    assert call(build_image, service, "--variant", "test")[0] == code


def test_no_docker_is_told_before_anything_is_built(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call(build_image, service)
    assert code == 69 and "no Docker Engine answers" in capsys.readouterr().err


@pytest.fixture
def signers(service: Path) -> Signers:
    """Keys, their public halves in targets.yaml."""
    made = new_signers(service.parent / "keys")
    targets = service.parent / "targets.yaml"
    keys = {purpose: [str(file) for file in files] for purpose, files in made.files.items()}
    targets.write_text(json.dumps({**json.loads(targets.read_text()), "keys": keys}))
    return made


def beside(registry: StandInRegistry, path: str, digest: str) -> list[bytes]:
    return fetch(Repository(Transport(registry.host, Deadline(9)), path), digest)


def test_attestations_that_hold_come_along_before_the_tag(
    service: Path, registry: StandInRegistry, signers: Signers, capsys: pytest.CaptureFixture[str]
) -> None:
    (digest,) = set(registry.tags("candidates/hello").values())
    candidates = Repository(Transport(registry.host, Deadline(9)), "candidates/hello")
    pairs = ((PROVENANCE, "provenance"), (TEST_RESULT, "test-result"), (PROVENANCE, "stranger"), (PROVENANCE, "permit"))
    made = [make_statement("x", digest, kind, {}, signers.key(who)) for kind, who in pairs]
    attach(candidates, digest, [Attestation(each, PROVENANCE) for each in made])
    code, result = call(publish_tag, service, "--no-moving")
    assert code == 0 and set(beside(registry, "hello", digest)) == set(made[:2])
    assert capsys.readouterr().err.count("is left behind: ") == 2
    writes = [seen.path.rpartition("/")[2] for seen in registry.requests("PUT", "/hello/manifests/")]
    assert writes.index(f"sha256-{digest[7:]}.att") < writes.index(result["tag"])
    # What is attested later comes along with the next run, although nothing else is left to do.
    later = make_statement("x", digest, TEST_RESULT, {"later": True}, signers.key("test-result"))
    attach(candidates, digest, [Attestation(later, TEST_RESULT)])
    assert call(publish_tag, service, "--dry-run")[0] == 0 and later not in beside(registry, "hello", digest)
    code, result = call(publish_tag, service)
    assert result["outcome"] == "unchanged" and later in beside(registry, "hello", digest)


def test_without_keys_nothing_comes_along(service: Path, registry: StandInRegistry) -> None:
    assert (
        call(publish_tag, service)[0] == 0
        and not registry.requests("GET", "att")
        and not registry.requests("GET", "tags/list")
    )


@pytest.mark.parametrize(("command", "purpose"), [(build_image, "provenance"), (run_tests, "test-result")])
def test_a_key_that_nobody_would_believe_is_said_before_anything_is_done(
    service: Path,
    signers: Signers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Any,
    purpose: str,
) -> None:
    for who in ("stranger", "permit", "provenance" if purpose == "test-result" else "test-result"):
        code, result = call(command, service, "--signing-key", str(signers.file(who)))
        assert code == 2 and f"under keys.{purpose}: nobody would believe it" in result["error"]["message"]
    code, result = call(command, service, "--signing-key", str(signers.file("none")))
    assert code == 2 and "No such file" in result["error"]["message"]
    monkeypatch.setenv("CD_SIGNING_KEY", signers.file(purpose).read_text())
    code, result = call(command, service)
    assert code == 2 and "CD_SIGNING_KEY holds a key itself" in result["error"]["message"]
    secret = signers.file(purpose).read_text().splitlines()[1]
    assert secret not in (service / ".cd" / "events.jsonl").read_text() + "".join(capsys.readouterr())
    monkeypatch.setenv("CD_SIGNING_KEY", str(signers.file(purpose)))
    monkeypatch.delenv("CD_TARGETS")
    assert "takes targets.yaml" in call(command, service)[1]["error"]["message"]


def test_an_empty_key_is_none(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CD_SIGNING_KEY", "")  # as the gate job's step sets it where the job binds no key
    assert call(build_image, service)[0] == 69  # no Docker here, and no word of keys


@dataclass
class OneImageEngine:
    """An Engine with one build; `swap` is what somebody else does as soon as it has pushed."""

    registry: StandInRegistry
    labels: dict[str, str]
    swap: Callable[[str, str], object] = lambda _repository, _tag: None
    tells: bool = True
    platforms: Platforms = HERE

    @property
    def id(self) -> str:
        _, raw = self.registry.manifests["built"]["it"]
        return str(json.loads(raw)["config"]["digest"])

    def image(self, _name: str) -> Any:
        self.registry.add_image("built", "it", labels=self.labels, text="ours")
        return self

    def push(self, _image: str, destination: Reference, _on_line: object) -> str:
        pushed = self.registry.add_image(destination.path, destination.tag, labels=self.labels, text="ours")
        self.swap(destination.path, destination.tag)
        return pushed if self.tells else ""


def gate(service: Path, registry: StandInRegistry, **more: Any) -> tuple[Work, OneImageEngine]:
    """A step's work whose Engine has the image built."""
    work = open_work(Run("test", Deadline(9), out=service), service, service.parent / "targets.yaml", need_target=True)
    engine = OneImageEngine(registry, dict(work.plan("production").labels), **more)
    work.__dict__["engine"] = engine
    work._plans.clear()
    return work, engine


def signed_build(work: Work, signers: Signers) -> list[str]:
    witness = open_witness(work, signers.file("provenance"), "provenance")
    image = find_built(work, work.plan("production"))
    assert image
    return attest_build(witness, [image])


def signed_tests(work: Work, signers: Signers) -> list[str]:
    witness = open_witness(work, signers.file("test-result"), "test-result")
    image = find_built(work, work.plan("production"))
    assert witness and image
    return attest_tests(witness, testrun.Tested(image, Tests(passed=1), ()), True)


def swapped(registry: StandInRegistry, labels: dict[str, str], layers_only: bool = False) -> Callable[[str, str], str]:
    """Puts another image with the same labels in place of what was pushed; with `layers_only`, its configuration too
    is what was pushed."""

    def swap(repository: str, tag: str) -> str:
        theirs = registry.add_image(repository, tag, labels=labels, text="theirs")
        if layers_only:
            document = json.loads(registry.manifests[repository][tag][1])
            document["config"] = json.loads(registry.manifests["built"]["it"][1])["config"]
            theirs = registry.put(repository, tag, document["mediaType"], json.dumps(document).encode())
        return theirs

    return swap


@pytest.mark.parametrize("layers_only", [False, True])
def test_nobody_has_another_image_signed_by_swapping_the_tag_while_the_gate_pushes(
    service: Path, registry: StandInRegistry, signers: Signers, layers_only: bool
) -> None:
    work, engine = gate(service, registry)
    engine.swap = swapped(registry, engine.labels, layers_only)
    with pytest.raises(RegistryRefused, match="reads back as"):
        signed_build(work, signers)
    assert not [tag for tag in registry.tags("candidates/hello") if tag.endswith(".att")]


@pytest.mark.parametrize("tells", [True, False])
def test_a_test_result_is_attested_only_of_what_the_gate_has_built(
    service: Path, registry: StandInRegistry, signers: Signers, tells: bool
) -> None:
    work, engine = gate(service, registry, tells=tells)
    (said,) = signed_build(work, signers)
    digest = said.rpartition("@")[2]
    tag = work.plan("production").candidate_tag
    theirs = swapped(registry, engine.labels)("candidates/hello", tag)
    with pytest.raises(Refused, match="has no provenance"):
        signed_tests(work, signers)
    assert beside(registry, "candidates/hello", theirs) == []
    registry.put("candidates/hello", tag, *registry.manifests["candidates/hello"][digest])
    (said,) = signed_tests(work, signers)
    assert said.endswith(f"@{digest}") and len(beside(registry, "candidates/hello", digest)) == 2


@pytest.fixture
def strict(service: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service, in an environment that asks for proofs, and the pipeline that publishes."""
    targets = service.parent / "targets.yaml"
    document = json.loads(targets.read_text())
    targets.write_text(json.dumps({**document, "environments": {"lab": {"policy": "reviewed"}}}))
    monkeypatch.setenv("ZUUL_PIPELINE", "postmerge")
    return service


def prove_candidate(service: Path, registry: StandInRegistry, signers: Signers) -> str:
    """Attest the candidate as the gate does; its digest."""
    work, _ = gate(service, registry)
    tag = work.plan("production").candidate_tag
    del registry.manifests["candidates/hello"][tag]
    (said,) = signed_build(work, signers)
    signed_tests(work, signers)
    return said.rpartition("@")[2]


def test_where_a_policy_asks_for_it_only_what_is_proved_is_published(
    strict: Path, registry: StandInRegistry, signers: Signers
) -> None:
    digest = prove_candidate(strict, registry, signers)
    labels = dict(gate(strict, registry)[0].plan("production").labels)
    (tag,) = (tag for tag in registry.tags("candidates/hello") if tag.startswith("production-tree-"))
    swapped(registry, labels)("candidates/hello", tag)
    code, result = call(publish_tag, strict)
    assert code == 6 and "no provenance proves" in result["error"]["message"] and result["error"]["hint"]
    assert registry.tags("hello") == {}, "neither the commit's tag nor latest"
    registry.put("candidates/hello", tag, *registry.manifests["candidates/hello"][digest])
    code, result = call(publish_tag, strict)
    assert code == 0 and result["digest"] == digest and registry.tags("hello")["latest"] == digest


@pytest.fixture
def based(service: Path, git: Any, registry: StandInRegistry) -> Path:
    """The service with a base image of a registry, and no candidate yet."""
    registry.add_image("base", "1")
    (service / "Dockerfile").write_text(f"FROM {registry.host}/base:1 AS test\nCOPY . /x\nFROM test AS production\n")
    git(service)
    del registry.manifests["candidates/hello"]
    return service


@pytest.mark.parametrize("trouble", ["moved", "silent"])
def test_what_was_proved_is_published_whatever_becomes_of_its_base(
    based: Path, strict: Path, registry: StandInRegistry, signers: Signers, trouble: str
) -> None:
    work, _ = gate(strict, registry)
    (said,) = signed_build(work, signers)
    signed_tests(work, signers)
    if trouble == "moved":
        registry.add_image("base", "1", text="moved")
    else:
        registry.faults.append(Fault("HEAD", "/base/manifests", 429))
    registry.seen.clear()
    digest = said.rpartition("@")[2]
    again = open_work(Run("test", Deadline(9), out=strict), strict, strict.parent / "targets.yaml", need_target=True)
    assert find_image(again).digest == digest
    code, result = call(publish_tag, strict)
    assert code == 0 and result["digest"] == digest
    assert not [seen for seen in registry.seen if "/base/" in seen.path]


def test_the_trees_tag_names_what_the_last_run_took_for_its_own(
    based: Path, strict: Path, registry: StandInRegistry, signers: Signers
) -> None:
    first = signed_build(gate(strict, registry)[0], signers)[0].rpartition("@")[2]
    base = registry.manifests["base"]["1"]
    registry.add_image("base", "1", text="moved")
    work = gate(strict, registry)[0]
    tag = work.plan("production").tree_tag
    second = signed_build(work, signers)[0].rpartition("@")[2]
    assert registry.tags("candidates/hello")[tag] == second != first
    registry.manifests["base"]["1"] = base
    assert signed_build(gate(strict, registry)[0], signers) == []  # the first one is found by its key
    assert registry.tags("candidates/hello")[tag] == first
    registry.seen.clear()
    assert signed_build(gate(strict, registry)[0], signers) == [] and not registry.requests("PUT", "candidates")
    code, result = call(publish_tag, strict)
    assert code == 6 and "test" in result["error"]["message"]  # what was never tested is not published by its tag


def test_a_tag_of_a_tree_that_holds_another_is_refused(based: Path, strict: Path, registry: StandInRegistry) -> None:
    tag = gate(strict, registry)[0].plan("production").tree_tag
    registry.add_image("candidates/hello", tag, labels={"org.cdlib.tree": "0" * 40})
    code, result = call(publish_tag, strict)
    assert code == 5 and "name another tree" in result["error"]["message"] and registry.tags("hello") == {}


def test_where_nobody_asks_for_proofs_what_was_built_on_purpose_comes_first(
    based: Path, registry: StandInRegistry, signers: Signers
) -> None:
    first = signed_build(gate(based, registry)[0], signers)[0].rpartition("@")[2]
    registry.add_image("base", "1", text="moved")
    assert call(publish_tag, based, "--tag", "old")[1]["digest"] == first  # nothing newer is here
    registry.faults.append(Fault("HEAD", "/base/manifests", 429))
    assert call(publish_tag, based, "--tag", "silent")[1]["digest"] == first
    registry.faults.clear()
    work = gate(based, registry)[0]
    assert publish(work, "production", ["new"]).digest not in ("", first)
    del registry.manifests["candidates/hello"]
    registry.faults.append(Fault("HEAD", "/base/manifests", 429))
    assert call(publish_tag, based, "--tag", "none")[0] == 69


@pytest.mark.parametrize(("spoil", "code"), [("", 0), ("another digest", 6), ("another commit", 6)])
def test_what_a_permit_lies_beside_is_published_too(
    strict: Path, registry: StandInRegistry, signers: Signers, spoil: str, code: int
) -> None:
    (digest,) = set(registry.tags("candidates/hello").values())
    commit = open_work(Run("test", Deadline(9)), strict, strict.parent / "targets.yaml").source.commit
    said = "sha256:" + "1" * 64 if spoil == "another digest" else digest
    asked = Asked(DEPLOY, Place("lab", "u", "x", "x"), "c" * 40 if spoil == "another commit" else commit, "",
                  f"{registry.host}/hello", said, f"sha256:{'2' * 64}", f"sha256:{'3' * 64}", f"sha256:{'4' * 64}")  # fmt: skip
    raw = issue(permit_for(asked, Spent(), by="https://x.test/1", reason="down"), signers.key("break-glass"))
    attach(Repository(Transport(registry.host, Deadline(9)), "candidates/hello"), digest, [Attestation(raw, SUMMARY)])
    assert call(publish_tag, strict)[0] == code, spoil
    assert ("latest" in registry.tags("hello")) == (code == 0)


def test_who_breaks_the_glass_without_a_digest_is_given_only_what_the_gate_has_built(
    strict: Path, registry: StandInRegistry, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody who may push candidates can plant one with the commit's labels."""
    (planted,) = set(registry.tags("candidates/hello").values())
    targets = strict.parent / "targets.yaml"
    monkeypatch.delenv("ZUUL_PIPELINE")
    work = open_work(Run("test", Deadline(9), out=strict), strict, targets, need_target=True)
    with pytest.raises(Refused, match=planted) as caught:
        find_image(work, by_hand=True)
    assert f"--digest {planted}" in caught.value.hint
    assert find_image(work, digest=planted, by_hand=True).digest == planted
    monkeypatch.setenv("ZUUL_PIPELINE", "postmerge")
    digest = prove_candidate(strict, registry, signers)
    assert digest != planted and str(find_image(work, by_hand=True)) == f"{registry.host}/candidates/hello@{digest}"
    registry.faults.append(Fault("GET", "manifests/sha256-", 500, times=20))
    with pytest.raises(Refused, match="cannot be read"):
        find_image(work, by_hand=True)
    assert find_image(work, digest=digest, by_hand=True).digest == digest
