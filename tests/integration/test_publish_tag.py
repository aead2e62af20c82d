"""publish-tag against real registries: once, by digest, and never moving what is published."""

from __future__ import annotations

import base64
import gc
import json
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from images import Workshop, new_workshop, registry, small_disk
from planted import plant

from cdlib.deadline import Deadline
from cdlib.image.engine import Engine
from cdlib.reference import parse
from lab.testing import Repository, RunningLab

HTPASSWD = "me:$2b$04$zwCVEHMTPtWyn3iJizDKM.nddBfAC01eSSBh5YlNFsGA77MjsE2DW\n"  # s3cret-pass
LOGIN = base64.b64encode(b"me:s3cret-pass").decode()


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Workshop]:
    made = new_workshop(lab, repo, tmp_path)
    made.target()
    yield made
    made.forget()
    gc.collect()  # docker-py leaves the sockets of streamed answers open


def build(work: Workshop) -> str:
    """Build the production variant; its key."""
    done = work.run("build-image", "--variant", "production", "--no-cache")
    assert done.code == 0, done.err
    return str(done.result["images"][0]["key"])


def default_tag(work: Workshop) -> str:
    when = work.repository.git("show", "-s", "--format=%cd", "--date=format-local:%Y-%m-%d-%H%M%S", "HEAD")
    return f"{when}-{work.repository.git('rev-parse', 'HEAD')[:12]}"


def test_from_a_build_to_a_candidate_to_a_release(work: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    key = build(work)
    candidates, image = f"t/candidates/{work.name}", f"t/{work.name}"
    first = work.run("publish-tag", "--candidate")
    assert first.code == 0 and first.result["outcome"] == "done", first.err
    digest = first.result["digest"]
    tags = work.tags(candidates)
    tree = work.repository.git("rev-parse", "HEAD^{tree}")
    names = (f"production-{key}", f"production-tree-{tree}", "cache-production")
    assert tags == dict.fromkeys(names, digest) and work.tags(image) == {}
    again = work.run("publish-tag", "--candidate")
    assert again.result["outcome"] == "unchanged" and again.result["digest"] == digest and "✓ push" not in again.err
    # Another machine has the candidate, and no build.
    work.forget()
    work.env["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    released = work.run("publish-tag")
    assert released.code == 0 and released.result["digest"] == digest, released.err
    tag = default_tag(work)
    assert released.out.strip() == f"{work.lab.registry}/{image}:{tag}@{digest}" == released.result["reference"]
    assert work.tags(image) == {tag: digest}
    rerun = work.run("publish-tag")
    assert rerun.code == 0 and rerun.result["outcome"] == "unchanged" and rerun.result["digest"] == digest


def test_a_build_without_a_candidate_becomes_one(work: Workshop) -> None:
    key = build(work)
    done = work.run("publish-tag", "--tag", "v1", "--tag", "stable")
    assert done.code == 0, done.err
    assert work.tags(f"t/{work.name}") == {"v1": done.result["digest"], "stable": done.result["digest"]}
    assert work.tags(f"t/candidates/{work.name}")[f"production-{key}"] == done.result["digest"]


def test_nothing_to_publish_and_a_rerun_after_candidates_were_cleared(work: Workshop) -> None:
    done = work.run("publish-tag")
    assert done.code == 5 and "nothing to publish" in done.problem[0] and "build-image" in done.problem[-1]
    assert work.run("publish-tag", "--candidate").code == 5
    build(work)
    assert work.run("publish-tag").code == 0
    work.forget()
    work.target(candidates=f"{work.lab.registry}/t/candidates/{work.name}-elsewhere")
    rerun = work.run("publish-tag")
    assert rerun.code == 0 and rerun.result["outcome"] == "unchanged"
    assert work.run("publish-tag", "--tag", "other").code == 5


def test_a_published_tag_never_moves_save_those_that_may(work: Workshop) -> None:
    work.target(moving_tags=["latest", "edge"])
    build(work)
    first = work.run("publish-tag", "--tag", "v1")
    assert work.run("publish-tag").code == 0
    image = f"t/{work.name}"
    old = first.result["digest"]
    assert {work.tags(image)[tag] for tag in ("v1", "latest", "edge")} == {old}
    work.write(change="x")
    build(work)
    taken = work.run("publish-tag", "--tag", "v1")
    assert taken.code == 5 and old in taken.problem[0] and "never moves" in taken.problem[0]
    assert not [t for t in work.tags(f"t/candidates/{work.name}").values() if t != old]  # nothing was written
    work.run("publish-tag", "--candidate")
    taken = work.run("publish-tag", "--tag", "v1", "--tag", "v2")
    assert taken.code == 5 and taken.problem[0].count("sha256:") == 2 and "v2" not in work.tags(image)
    kept = work.run("publish-tag", "--no-moving")
    assert kept.code == 0 and work.tags(image)["latest"] == old
    moved = work.run("publish-tag", "--tag", "latest")
    tags = work.tags(image)
    assert moved.code == 0 and tags["latest"] == moved.result["digest"] != old and tags["edge"] == old == tags["v1"]


def test_uncommitted_changes_cannot_be_published(work: Workshop) -> None:
    (work.folder / "new").write_text("x")
    assert work.run("build-image", "--dirty").code == 0
    for args in ((), ("--candidate",)):
        done = work.run("publish-tag", *args)
        assert done.code == 6 and "uncommitted changes" in done.problem[0] and done.result["outcome"] == "refused"
    # Committed, it is another image: the one that was marked stays behind.
    work.write()
    assert work.run("publish-tag").code == 5
    assert work.tags(f"t/{work.name}") == {} == work.tags(f"t/candidates/{work.name}")


def test_only_publishing_pipelines_publish_where_the_policy_says_so(work: Workshop) -> None:
    work.target(policy="signed")
    build(work)
    for pipeline, code in (("", 6), ("check", 6), ("gate", 0), ("postmerge", 0)):
        work.env["ZUUL_PIPELINE"] = pipeline
        done = work.run("publish-tag", "--candidate")
        assert done.code == code, (pipeline, done.err)
        done = work.run("publish-tag")
        assert done.code == 6, (pipeline, done.err)
        assert ("no provenance proves" in done.problem[0]) == (code == 0), done.err
    assert work.tags(f"t/{work.name}") == {}


def test_a_dry_run_writes_nothing(work: Workshop) -> None:
    build(work)
    for args, word in (((), "would PUT /v2/"), (("--candidate",), "would docker push")):
        done = work.run("publish-tag", "--dry-run", *args)
        assert done.code == 0 and done.result["outcome"] == "planned" and word in done.err, done.err
    assert work.tags(f"t/{work.name}") == {} == work.tags(f"t/candidates/{work.name}")


def test_a_candidate_that_is_not_what_its_tag_says(work: Workshop) -> None:
    key = build(work)
    place = f"{work.lab.registry}/t/candidates/{work.name}"
    work.lab.run("docker", "tag", f"{work.lab.registry}/lab/python:3.11-slim", f"{place}:production-{key}")
    work.lab.run("docker", "push", f"{place}:production-{key}")
    work.lab.run("docker", "rmi", f"{place}:production-{key}")
    for args in ((), ("--candidate",)):
        done = work.run("publish-tag", *args)
        assert done.code == 5 and "not what its tag says" in done.problem[0]
    assert work.tags(f"t/{work.name}") == {}


def test_two_at_once_publish_the_same(work: Workshop) -> None:
    build(work)
    children = [work.start("publish-tag", "--out", str(work.base / f"out{n}")) for n in range(3)]
    done = [work.finish(child) for child in children]
    assert [d.code for d in done] == [0, 0, 0], [d.err for d in done]
    assert len({d.out for d in done}) == 1


def test_another_run_takes_the_name_away(work: Workshop, lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    build(work)
    monkeypatch.setenv("DOCKER_HOST", lab.docker_host)
    engine = Engine(Deadline(60))
    (image,) = engine.client.images(filters={"label": [f"org.opencontainers.image.title={work.name}"]}, quiet=True)
    place = parse(f"{lab.registry}/t/candidates/{work.name}:twice")
    push, names = engine.streams.push, list[str]()

    def interfering(repository: str, tag: str, **options: Any) -> Any:
        if not names:
            engine.client.remove_image(f"{repository}:{tag}", noprune=True)
        names.append(tag)
        return push(repository, tag, **options)

    monkeypatch.setattr(engine.streams, "push", interfering)
    engine.push(image, place, print)
    engine.client.close()
    engine.streams.close()
    assert names == ["twice", "twice"] and "twice" in work.tags(f"t/candidates/{work.name}")


# Other registries


def test_a_registry_that_wants_to_know_who_we_are(work: Workshop, tmp_path: Path) -> None:
    with registry(tmp_path / "registry", tmp_path / "storage", HTPASSWD) as host:
        work.target(registry=host)
        work.env["DOCKER_CONFIG"] = str(tmp_path / "docker")
        (tmp_path / "docker").mkdir()
        build(work)
        for wrong in ({}, {"auths": {host: {"auth": base64.b64encode(b"me:wrong-pass").decode()}}}):
            (tmp_path / "docker" / "config.json").write_text(json.dumps(wrong))
            for args in ((), ("--candidate",)):
                done = work.run("publish-tag", *args)
                assert done.code == 77 and f"docker login {host}" in done.problem[-1], done.err
        config, helper = tmp_path / "docker" / "config.json", tmp_path / "bin" / "docker-credential-test"
        config.write_text(json.dumps({"auths": {host: {"auth": LOGIN}}}))
        plant("a registry's login", LOGIN, config)
        plant("a registry's password", "s3cret-pass", helper)
        done = work.run("publish-tag")
        assert done.code == 0, done.err
        for said in (done.err, done.out, *(p.read_text() for p in (work.folder / ".cd").glob("*.json*"))):
            assert "s3cret-pass" not in said and LOGIN not in said
        # The same by a credential helper.
        helper.parent.mkdir()
        helper.write_text('#!/bin/sh\necho \'{"ServerURL":"x","Username":"me","Secret":"s3cret-pass"}\'\n')
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
        work.env["PATH"] = f"{helper.parent}:{work.environment()['PATH']}"
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        work.write(other="x")
        build(work)
        done = work.run("publish-tag")
        assert done.code == 0 and "s3cret-pass" not in done.err, done.err


def test_from_one_registry_to_another_only_what_is_missing(work: Workshop, tmp_path: Path) -> None:
    with registry(tmp_path / "registry", tmp_path / "storage") as host:
        work.target(image=f"{host}/elsewhere/{work.name}")
        build(work)
        done = work.run("publish-tag")
        assert done.code == 0, done.err
        digest = done.result["digest"]
        assert set(work.tags(f"elsewhere/{work.name}", host).values()) == {digest}
        assert work.tags(f"t/candidates/{work.name}")["cache-production"] == digest
        events = [json.loads(line) for line in (work.folder / ".cd" / "events.jsonl").read_text().splitlines()]
        (promoted,) = [e for e in events if e["event"] == "stage_end" and e["stage"] == "promote"]
        assert promoted["copied"] >= 3 and promoted["mounted"] == 0
        work.write(other="x")
        build(work)
        assert work.run("publish-tag").code == 0
        events = [json.loads(line) for line in (work.folder / ".cd" / "events.jsonl").read_text().splitlines()]
        promoted = [e for e in events if e["event"] == "stage_end" and e["stage"] == "promote"][-1]
        assert promoted["copied"] == 2 and promoted["present"] >= 1  # a layer and the configuration


def test_a_full_disk_in_the_registry(work: Workshop, tmp_path: Path) -> None:
    build(work)
    assert work.run("publish-tag", "--candidate").code == 0
    with small_disk(tmp_path / "disk", "3m") as disk, registry(tmp_path / "registry", disk) as host:
        work.target(image=f"{host}/x/{work.name}")
        done = work.run("publish-tag")
        assert done.code == 69 and "disk is full" in done.problem[0] and done.seconds < 30, done.err
        work.target(candidates=f"{host}/y/{work.name}")
        done = work.run("publish-tag", "--candidate")
        assert done.code == 69 and "disk is full" in done.problem[0], done.err


def test_no_registry(work: Workshop) -> None:
    build(work)
    work.target(registry="localhost:1")
    done = work.run("publish-tag")
    assert done.code == 69 and "localhost:1" in done.problem[0] and done.seconds < 30


# Bad input


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--tag", "not a tag"), 2, "is no tag"), (("--tag", "-x"), 2, "is no tag"), (("--tag", "ü"), 2, "is no tag"),
        (("--tag", "x" * 129), 2, "is no tag"), (("--variant", "none"), 2, "no variant 'none'"),
    ],
)  # fmt: skip
def test_bad_arguments(work: Workshop, args: tuple[str, ...], code: int, said: str) -> None:
    done = work.run("publish-tag", *args)
    assert done.code == code and said in done.problem[0] and "Traceback" not in done.err


def test_bad_targets(work: Workshop) -> None:
    path = Path(work.env.pop("CD_TARGETS"))
    done = work.run("publish-tag")
    assert done.code == 2 and "no targets.yaml" in done.problem[0]
    done = work.run("publish-tag", "--targets", "/nonexistent/targets.yaml")
    assert done.code == 2 and "No such file" in done.problem[0]
    for text, words in (
        (
            "version: 1\nenvironments: {lab: {policy: maybe}}\nservices: {x: {imagine: 1}}\n",
            ("policy", "imagine", "image"),
        ),
        (
            "version: 1\nenvironments: {lab: {}}\nservices: {other: {image: r/x, environments: {lab: {namespace: a, release: b}}}}\n",
            ("knows no service", "other"),
        ),
    ):
        path.write_text(text)
        done = work.run("publish-tag", "--targets", str(path))
        assert done.code == 2 and all(word in "\n".join(done.problem) for word in words), done.err


# Ctrl-C


@contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes connections and never answers; the event is set once one came."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            open_connections = []
            try:
                while True:
                    open_connections.append(listening.accept()[0])
                    came.set()
            except OSError:
                for connection in open_connections:
                    connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"localhost:{listening.getsockname()[1]}", came
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_ctrl_c_while_a_registry_does_not_answer(work: Workshop, signum: int, code: int) -> None:
    build(work)
    with silent_server() as (host, came):
        work.target(registry=host)
        child = work.start("publish-tag")
        assert came.wait(60)
        child.send_signal(signum)
        done = work.finish(child)
    assert done.code == code and done.result["outcome"] == "interrupted" and "Traceback" not in done.err


def test_a_server_that_never_answers_costs_no_more_than_the_limit(work: Workshop) -> None:
    with silent_server() as (host, _):
        work.target(registry=host)
        done = work.run("publish-tag", "--timeout", "2")
    assert done.code in (69, 70) and done.seconds < 20, done.err


def test_ctrl_c_in_a_push_leaves_no_tag(work: Workshop) -> None:
    subprocess.run(["dd", "if=/dev/urandom", f"of={work.folder}/big", "bs=1M", "count=60", "status=none"], check=True)
    work.write()
    build(work)
    done = work.interrupt("Preparing", "publish-tag", "--candidate")
    assert done.code == 130, done.err
    assert work.tags(f"t/candidates/{work.name}") == {}
    assert work.run("publish-tag", "--candidate").code == 0
    shutil.rmtree(work.folder / ".cd")
