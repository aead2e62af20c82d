"""Builds that are signed for, on an Engine that has built what nobody has reviewed.

Each attack is seen to work first, on a build that nobody signs for: a test that cannot fail would show nothing.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from images import BUILDERS, Done, Workshop, new_workshop
from signing import Signers, new_signers

from lab.testing import Repository, RunningLab

BUILDKITS = ("buildx", "buildkit")  # the Engine's own builder knows no cache mounts
MOUNT = "RUN --mount=type=cache,id={name},target=/cache"
PASSED = '<testsuite><testcase classname="a.B" name="one"/></testsuite>'


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    return new_signers(tmp_path / "keys")


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path, signers: Signers) -> Iterator[Workshop]:
    made = new_workshop(lab, repo, tmp_path)
    made.env["DOCKER_CONFIG"] = str(lab.docker_config)
    path = made.target()
    keys = {purpose: [str(file) for file in files] for purpose, files in signers.files.items()}
    path.write_text(json.dumps({**json.loads(path.read_text()), "keys": keys}))
    yield made
    made.forget()


def change(work: Workshop, steps: str, **args: str) -> None:
    """Commit a Dockerfile with these steps."""
    script = f"mkdir -p /reports; echo '{PASSED}' > /reports/a.xml"
    service = {"service": work.name, "test": {"command": ["sh", "-c", script]}, "image": {"args": args}}
    work.write(
        cd__yaml=json.dumps(service),
        Dockerfile=f"FROM {work.lab.registry}/lab/python:3.11-slim AS test\n{steps}COPY . /srv\nFROM test AS production\n",
    )


def build(work: Workshop, builder: str, key: Path | None = None) -> dict[str, Any]:
    """Build, and sign for it with `key`; the image that is deployed, as the result has it."""
    done: Done = work.run("build-image", "--builder", builder, *(["--signing-key", str(key)] if key else []))
    assert done.code == 0, done.err
    return next(image for image in done.result["images"] if image["variant"] == "production")


@pytest.mark.parametrize("builder", BUILDKITS)
def test_a_cache_mount_that_a_check_has_poisoned(work: Workshop, signers: Signers, builder: str) -> None:
    mount = MOUNT.format(name=work.name)
    good = f"{mount} cat /cache/lib > /out 2> /dev/null || echo clean > /out\n"
    change(work, f"{mount} echo poison > /cache/lib\n")
    build(work, builder)
    change(work, good)
    poisoned = build(work, builder)
    assert work.read(poisoned["id"], "/out") == "poison\n", "the attack works"
    signed = build(work, builder, signers.file("provenance"))
    assert work.read(signed["id"], "/out") == "clean\n" and not signed["unchanged"]
    assert signed["key"] == poisoned["key"] and signed["reference"].startswith("cdlib-attested/")


@pytest.mark.parametrize("builder", BUILDKITS)
def test_a_layer_that_a_check_has_poisoned(work: Workshop, signers: Signers, builder: str) -> None:
    """A proxy is no part of a layer's key, so that whoever names one decides what a step of everybody's fetches."""
    step = f'RUN echo "{work.name} by ${{HTTP_PROXY:-nobody}}" > /out\n'
    change(work, step, HTTP_PROXY="http://evil.test:1")
    build(work, builder)
    change(work, step)
    assert "evil.test" in work.read(build(work, builder)["id"], "/out"), "the attack works"
    signed = build(work, builder, signers.file("provenance"))
    assert work.read(signed["id"], "/out") == f"{work.name} by nobody\n"


@pytest.mark.parametrize("builder", BUILDERS)
def test_no_layer_of_another_build_is_taken(work: Workshop, signers: Signers, builder: str) -> None:
    change(work, f"RUN echo {work.name} && cat /proc/sys/kernel/random/uuid > /out\n")
    first = work.read(build(work, builder)["id"], "/out")
    work.write(another="file")
    assert work.read(build(work, builder)["id"], "/out") == first, "a build that nobody signs for takes it"
    assert work.read(build(work, builder, signers.file("provenance"))["id"], "/out") != first


@pytest.mark.parametrize("builder", BUILDKITS)
def test_what_a_gate_has_built_that_never_merged(work: Workshop, signers: Signers, builder: str) -> None:
    """A +2 is not enough: what it let into the gate, no other build may find there."""
    mount, key = MOUNT.format(name=work.name), signers.file("provenance")
    change(work, f"{mount} echo poison > /cache/lib\n")
    build(work, builder, key)
    change(work, f"{mount} cat /cache/lib > /out 2> /dev/null || echo clean > /out\n")
    assert work.read(build(work, builder, key)["id"], "/out") == "clean\n"


def test_the_tests_run_in_an_image_of_the_same_kind(work: Workshop, signers: Signers) -> None:
    mount = MOUNT.format(name=work.name)
    change(work, f"{mount} echo poison > /cache/lib\n")
    build(work, "buildkit")
    change(work, f"{mount} test ! -e /cache/lib || echo poison > /out\n")
    build(work, "buildkit")
    build(work, "buildkit", signers.file("provenance"))
    tested = work.run("run-tests", "--signing-key", str(signers.file("test-result")))
    assert tested.code == 0, tested.err
    (image,) = tested.result["images"]
    assert image["reference"].startswith("cdlib-attested/") and image["unchanged"], "the one that build-image has made"


def test_a_base_that_only_this_engine_has_is_no_base(work: Workshop, signers: Signers) -> None:
    base = build(work, "buildkit")["reference"]
    work.write(Dockerfile=f"FROM {base} AS test\nFROM test AS production\n")
    build(work, "buildkit")
    refused = work.run("build-image", "--signing-key", str(signers.file("provenance")))
    assert refused.code == 6 and "no registry has its base image" in refused.problem[0], refused.err


def test_a_mount_from_what_only_this_engine_has_is_no_base(work: Workshop, signers: Signers) -> None:
    mine = build(work, "buildkit")["reference"]
    for mount, code, said in (
        (f"From={mine}", 6, "no registry has its base"),
        (f"'from={mine}'", 2, "more than one way"),
    ):
        change(work, f"RUN --mount=type=bind,{mount},target=/mine true\n")
        refused = work.run("build-image", "--signing-key", str(signers.file("provenance")))
        assert refused.code == code and said in refused.problem[0], refused.err


@pytest.mark.parametrize("builder", BUILDKITS)
def test_a_context_that_a_check_has_left(work: Workshop, signers: Signers, builder: str) -> None:
    """Two trees that differ in bytes only, not in sizes and times: what BuildKit has of the one is not the other."""
    change(work, "")
    evil, good = salts_of_one_time(work, "evil", "good")
    work.write(payload="evil", salt=evil)
    poisoned = tree_of(work)
    build(work, builder)
    work.write(payload="good", salt=good)
    assert tree_of(work) != poisoned and tree_of(work)[:6] == poisoned[:6], "files of both have the same time"
    signed = build(work, builder, signers.file("provenance"))
    assert work.read(signed["id"], "/srv/payload") == "good" and work.read(signed["id"], "/srv/salt") == good


def tree_of(work: Workshop) -> str:
    """The id of the tree of the service's last commit."""
    argv = ["git", "-C", work.folder, "rev-parse", "HEAD^{tree}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def salts_of_one_time(work: Workshop, *payloads: str) -> list[str]:
    """What the file `salt` has to say beside each of two `payloads`, so that both trees' ids begin alike.

    40,000 trees, of which 400 million pairs differ in their payload: one in 2^24 of those has the same 24 bits.
    """
    work.write(payload=payloads[0], salt="0" * 8)
    listed = subprocess.run(["git", "-C", work.folder, "ls-tree", "HEAD"], capture_output=True, text=True, check=True)
    entries = [(line.split()[0], line.split("\t")[1], line.split()[2]) for line in listed.stdout.splitlines()]
    seen: list[dict[str, str]] = []
    for payload in payloads:
        known = {"payload": blob(payload), "salt": "{salt}"}
        parts = [(f"{mode.lstrip('0')} {name}\0".encode(), known.get(name, kept)) for mode, name, kept in entries]
        starts = {}
        for salt in (f"{number:08}" for number in range(20_000)):
            ids = (blob(salt) if name == "{salt}" else name for _, name in parts)
            whole = b"".join(head + bytes.fromhex(each) for (head, _), each in zip(parts, ids, strict=True))
            starts[git_id("tree", whole)[:6]] = salt
        seen.append(starts)
    shared = next(start for start in seen[0] if start in seen[1])
    return [starts[shared] for starts in seen]


def blob(text: str) -> str:
    return git_id("blob", text.encode())


def git_id(kind: str, content: bytes) -> str:
    """git's object id of `content`."""
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("builder", BUILDKITS)
def test_nobody_names_the_cache_mounts_of_others(work: Workshop, builder: str) -> None:
    change(work, "RUN true\n", BUILDKIT_CACHE_MOUNT_NS="cd-0000")
    refused = work.run("build-image", "--builder", builder)
    assert refused.code == 2 and "BUILDKIT_CACHE_MOUNT_NS" in refused.problem[0], refused.err
