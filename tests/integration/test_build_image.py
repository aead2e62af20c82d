"""build-image against a real Docker Engine, by each way to build."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from images import BIN, BUILDERS, HOSTILE, Workshop, docker_engine, new_workshop, small_disk

from lab.testing import Repository, RunningLab


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Workshop]:
    made = new_workshop(lab, repo, tmp_path)
    # The lab's docker configuration carries buildx, so that every builder can be chosen by name.
    made.env["DOCKER_CONFIG"] = str(lab.docker_config)
    yield made
    made.forget()


def failed_in_order(problem: list[str], *words: str) -> bool:
    """Whether the first lines of an error say `words`, in that order."""
    text = "\n".join(problem)
    places = [text.find(word) for word in words]
    return -1 not in places and places == sorted(places)


@pytest.mark.parametrize("builder", BUILDERS)
def test_each_builder_makes_the_image_that_the_key_names(work: Workshop, builder: str) -> None:
    work.write(
        cd__yaml=f"service: {work.name}\nimage: {{args: {{MESSAGE: {json.dumps(HOSTILE)}}}}}\n",
        Dockerfile=f"ARG BASE={work.lab.registry}/lab/python:3.11-slim\nFROM $BASE AS test\nARG MESSAGE\n"
        'RUN printf %s "$MESSAGE" > /message\nCOPY . /srv\nFROM test AS production\n',
        file="x",
    )
    done = work.run("build-image", "--builder", builder)
    assert done.code == 0, done.err
    assert [image["variant"] for image in done.result["images"]] == ["test", "production"]
    for image in done.result["images"]:
        assert image["builder"] == builder and not image["unchanged"] and not image["dirty"]
        labels = work.labels(image["id"])
        assert labels["org.cdlib.key"] == image["key"] and labels["org.cdlib.variant"] == image["variant"]
        assert labels["org.opencontainers.image.title"] == work.name and labels["org.cdlib.dirty"] == "false"
        assert labels["org.opencontainers.image.base.name"] == f"{work.lab.registry}/lab/python:3.11-slim"
        assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
        assert work.read(image["id"], "/message") == HOSTILE
        assert work.read(image["id"], "/srv/file") == "x"
        # The pins are the builder's affair: the image holds the file as it was committed.
        assert "ARG BASE=" in work.read(image["id"], "/srv/Dockerfile")
        assert f"{image['reference']} {image['id']} {builder}" in done.out
    again = work.run("build-image", "--builder", builder)
    assert again.code == 0 and again.result["outcome"] == "unchanged" and "building by" not in again.err
    assert [i["id"] for i in again.result["images"]] == [i["id"] for i in done.result["images"]]
    assert not list(work.temporary.iterdir())


def test_built_elsewhere_it_has_the_same_files_and_times(work: Workshop) -> None:
    work.write(Dockerfile="FROM scratch AS test\nCOPY . /srv\n", script="#!/bin/sh\n")
    (work.folder / "script").chmod(0o755)
    (work.folder / "link").symlink_to("script")
    work.write()
    found = []
    for umask, builder in (("022", "buildkit"), ("077", "engine")):  # these two share no cache
        child = subprocess.run(
            ["sh", "-c", f'umask {umask}; exec "$@"', "sh", str(BIN / "build-image"), "-C", str(work.folder),
             "--variant", "test", "--builder", builder],
            env=work.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert child.returncode == 0, child.stderr
        whole = work.archive(child.stdout.split()[1], "/srv")
        # The folder itself is made by the builder.
        found.append({(e.name, e.mode, e.mtime, e.linkname) for e in whole if e.name.strip("/") != "srv"})
        work.forget()
    assert found[0] == found[1] and {entry[0].rpartition("/")[2] for entry in found[0]} >= {"script", "link", "cd.yaml"}


def _closing(engine: Any) -> Any:
    return contextlib.closing(engine)


def test_what_is_built_is_the_commit_and_not_the_folder(work: Workshop) -> None:
    (work.folder / "unique").write_text("changed")
    (work.folder / "new").write_text("untracked")
    done = work.run("build-image", "--variant", "test")
    assert done.code == 0 and "uncommitted changes are left out" in done.err
    image = done.result["images"][0]["id"]
    assert work.read(image, "/srv/unique") != "changed"
    dirty = work.run("build-image", "--variant", "test", "--dirty")
    made = dirty.result["images"][0]
    assert made["dirty"] and made["key"] != done.result["images"][0]["key"]
    assert work.read(made["id"], "/srv/new") == "untracked" and work.read(made["id"], "/srv/unique") == "changed"
    assert work.labels(made["id"])["org.cdlib.dirty"] == "true"
    status = work.repository.git("status", "--porcelain")
    assert status.split() == ["M", "unique", "??", "new"]  # the index is as it was


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_failing_step_comes_first(work: Workshop, builder: str) -> None:
    dockerfile = (
        (work.folder / "Dockerfile")
        .read_text()
        .replace("COPY . /srv\n", "RUN echo fine\nRUN echo one; echo two; exit 7\n")
    )
    work.write(Dockerfile=dockerfile)
    done = work.run("build-image", "--variant", "test", "--builder", builder)
    assert done.code == 3 and done.result["outcome"] == "build-failed"
    assert "does not build at" in done.problem[0] and "RUN echo one" in done.problem[0]
    assert done.result["error"]["details"][:2] == ["one", "two"] and "7" in done.result["error"]["details"][2]
    assert done.problem[1:3] == ["  one", "  two"] and done.problem[-1].startswith("next: ")
    assert "Traceback" not in done.err and len(done.problem) < 20
    quiet = work.run("build-image", "--variant", "test", "--builder", builder, "-q")
    assert quiet.err.splitlines()[1].startswith("error: ") and "echo fine" not in quiet.err
    assert not list(work.temporary.iterdir())


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_dockerfile_that_is_none(work: Workshop, builder: str) -> None:
    work.write(Dockerfile=(work.folder / "Dockerfile").read_text().replace("COPY", "COPPY"))
    done = work.run("build-image", "--variant", "test", "--builder", builder)
    assert done.code == 3 and "COPPY" in "\n".join(done.problem)


@pytest.mark.parametrize("builder", BUILDERS)
def test_ctrl_c_and_time_end_a_build_and_leave_nothing(work: Workshop, builder: str) -> None:
    sleep = f"86{int(time.time()) % 100000:05}"  # seconds: a number to find the process by
    work.write(
        Dockerfile=(work.folder / "Dockerfile").read_text().replace("COPY", f"RUN echo begun; sleep {sleep}\nCOPY")
    )
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        done = work.interrupt("begun\n", "build-image", "--builder", builder, signum=signum)
        assert done.code == code and done.result["outcome"] == "interrupted" and done.seconds < 20, done.err
        assert not list(work.temporary.iterdir()) and gone(sleep)
    late = work.run("build-image", "--builder", builder, "--timeout", "3")
    assert (late.code == 70 and late.seconds < 25 and "out of time" in late.err) or "did not end" in late.err
    assert not list(work.temporary.iterdir()) and gone(sleep)


def test_a_build_dies_with_a_command_that_is_killed(work: Workshop) -> None:
    sleep = f"87{int(time.time()) % 100000:05}"
    work.write(
        Dockerfile=(work.folder / "Dockerfile").read_text().replace("COPY", f"RUN echo begun; sleep {sleep}\nCOPY")
    )
    done = work.interrupt("begun\n", "build-image", "--builder", "buildkit", signum=signal.SIGKILL)
    assert done.code == -signal.SIGKILL and gone(sleep)


def gone(sleep: str) -> bool:
    """Whether no process of a build runs any more, within 30 seconds."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = subprocess.run(["pgrep", "-f", f"^sleep {sleep}$"], stdout=subprocess.DEVNULL, check=False)
        if found.returncode:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_dry_run_builds_nothing(work: Workshop, builder: str) -> None:
    done = work.run("build-image", "--dry-run", "--builder", builder)
    assert done.code == 0 and done.result["outcome"] == "planned"
    assert done.err.count("would ") == 2 and ("POST /build" if builder == "engine" else "build --") in done.err
    with _closing(work.engine) as engine:
        assert engine.images(name=f"cdlib/{work.name}") == []


def test_a_base_that_only_the_engine_has(work: Workshop) -> None:
    with _closing(work.engine) as engine:
        engine.pull(f"{work.lab.registry}/lab/python", "3.11-slim")
        engine.tag(f"{work.lab.registry}/lab/python:3.11-slim", f"cdlib/{work.name}", "base")
    work.write(Dockerfile=f"FROM cdlib/{work.name}:base AS test\nCOPY . /srv\n")
    work.env["CD_VARIANT"] = "test"
    done = work.run("build-image")
    assert done.code == 0, done.err
    digest = work.labels(done.result["images"][0]["id"])["org.opencontainers.image.base.digest"]
    assert digest.startswith("sha256:") and work.run("build-image").result["outcome"] == "unchanged"


@pytest.mark.parametrize("builder", BUILDERS)
def test_ignored_files_stay_out(work: Workshop, builder: str) -> None:
    work.write(**{"__dockerignore": "secret*\n# comment\n!secret-not\n"}, secrets="x", **{"secret-not": "y"})
    done = work.run("build-image", "--variant", "test", "--builder", builder)
    assert done.code == 0, done.err
    image = done.result["images"][0]["id"]
    assert work.read(image, "/srv/secret-not") == "y" and work.read(image, "/srv/.dockerignore").startswith("secret*")
    with pytest.raises(Exception, match="404"):
        work.read(image, "/srv/secrets")


@pytest.mark.parametrize("builder", BUILDERS)
def test_layers_come_from_the_registry_where_a_machine_has_none(work: Workshop, tmp_path: Path, builder: str) -> None:
    work.target()
    dockerfile = f"FROM {work.lab.registry}/lab/python:3.11-slim AS production\nCOPY unique /first\nCOPY . /srv\n"
    work.write(
        cd__yaml=f"service: {work.name}\nimage: {{variants: {{production: production}}}}\n", Dockerfile=dockerfile
    )
    first = work.run("build-image", "--builder", builder)
    assert first.code == 0 and "importing cache" not in first.err
    assert work.run("publish-tag", "--candidate").code == 0
    work.write(other="changed")
    with docker_engine(tmp_path / "dockerd.log", tmp_path / "data") as host:
        work.env["DOCKER_HOST"] = host
        again = work.run("build-image", "--builder", builder)
        assert again.code == 0, again.err
        assert ("Using cache" if builder == "engine" else "importing cache") in again.err, again.err
        assert builder == "engine" or "CACHED" in again.err.partition("COPY unique /first")[2][:800], again.err
    work.env["DOCKER_HOST"] = work.lab.docker_host


def test_a_cache_that_cannot_be_reached_fails_nothing(work: Workshop) -> None:
    work.target(registry="localhost:1")
    done = work.run("build-image", "--variant", "production")
    assert done.code == 0 and "no cache is used" in done.err


# Bad input


@pytest.mark.parametrize(
    ("files", "args", "said"),
    [
        ({"cd__yaml": "service: x\nimage: {variants: {test: none}}\n"}, (), "no stage 'none'"),
        ({"cd__yaml": "service: x\n"}, ("--variant", "nope"), "no variant 'nope'"),
        ({"cd__yaml": "service: UPPER\nimage: {dockerfile: /etc/passwd}\nextra: 1\n"}, (), "3 mistakes"),
        ({"cd__yaml": "service: x\nimage: {dockerfile: ../../etc/passwd}\n"}, (), "outside the service's folder"),
        ({"cd__yaml": "service: x\nimage: {dockerfile: missing}\n"}, (), "missing is not in the commit"),
        ({"cd__yaml": "service: x\nimage: {blubber: blubber.yaml}\n", "blubber__yaml": "version: v4\n"}, (), "CD_BLUBBEROID_URL"),
        ({"cd__yaml": "service: [\n"}, (), "no valid YAML at line"),
        ({"Dockerfile": "# syntax=evil.example.org/frontend:1\nFROM scratch AS test\n"}, (), "operators have not allowed"),
        ({"Dockerfile": "FROM Not/Valid AS test\n"}, ("--variant", "test"), "no image name"),
    ],
)  # fmt: skip
def test_bad_configuration_is_told_and_nothing_is_built(
    work: Workshop, files: dict[str, str], args: tuple[str, ...], said: str
) -> None:
    work.write(**files)
    done = work.run("build-image", *args)
    assert done.code == 2 and said in "\n".join(done.problem), done.err
    assert "next: " in done.err and "Traceback" not in done.err and done.result["outcome"] == "misconfigured"


def test_mistakes_in_both_files_are_told_at_once(work: Workshop) -> None:
    work.write(cd__yaml="service: x\nextra: 1\n")
    work.target().write_text("version: 2\n")
    done = work.run("build-image")
    assert done.code == 2 and failed_in_order(done.problem, "unknown key 'extra'", "version:"), done.err


def test_no_repository_no_commit_no_folder(work: Workshop, tmp_path: Path) -> None:
    bare = tmp_path / "nothing"
    bare.mkdir()
    work.repository = Repository(bare)
    assert "is in no git repository" in work.run("build-image").err
    subprocess.run(["git", "init", "-q", str(bare)], check=True)
    done = work.run("build-image")
    assert done.code == 2 and "has no commit yet" in done.err
    work.repository = Repository(tmp_path / "missing")
    assert work.run("build-image").code == 2


def test_a_base_that_the_registry_does_not_have(work: Workshop) -> None:
    work.write(Dockerfile=f"FROM {work.lab.registry}/no/such:1 AS test\n")
    done = work.run("build-image", "--variant", "test")
    assert done.code == 5 and "has no 1" in done.err
    work.write(Dockerfile="FROM localhost:1/no/such:1 AS test\n")
    done = work.run("build-image", "--variant", "test")
    assert done.code == 69 and "localhost:1" in done.problem[0]


@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1"])
def test_no_docker(work: Workshop, host: str) -> None:
    work.env["DOCKER_HOST"] = host
    done = work.run("build-image")
    assert done.code == 69 and "no Docker Engine answers" in done.problem[0] and "Traceback" not in done.err


def test_a_full_disk_where_docker_builds(work: Workshop, tmp_path: Path) -> None:
    work.write(Dockerfile="FROM scratch AS test\nCOPY . /srv\n")
    with (work.folder / "big").open("wb") as big:
        big.truncate(60 * 2**20)
    work.write()
    with small_disk(tmp_path / "disk", "40m") as disk, docker_engine(tmp_path / "dockerd.log", disk) as host:
        work.env["DOCKER_HOST"] = host
        for builder in ("buildkit", "engine"):
            done = work.run("build-image", "--variant", "test", "--builder", builder)
            assert done.code == 69 and "disk is full" in done.problem[0], done.err
    work.env["DOCKER_HOST"] = work.lab.docker_host


def test_a_full_disk_here(work: Workshop, tmp_path: Path) -> None:
    with (work.folder / "big").open("wb") as big:
        big.write(b"x" * 8 * 2**20)
    work.write()
    with small_disk(tmp_path / "disk", "4m") as disk:
        work.env["TMPDIR"] = str(disk)
        done = work.run("build-image", "--variant", "test")
        assert done.code == 69 and "disk is full" in done.problem[0], done.err
        assert not list(disk.iterdir())
