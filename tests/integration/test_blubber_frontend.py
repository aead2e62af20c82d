"""A blubber.yaml that a BuildKit frontend reads: a program of the operators' choice, by digest, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from images import Workshop, new_workshop

from lab import images
from lab.testing import Repository, RunningLab

REPOSITORY = "lab/blubber"


@pytest.fixture(scope="module")
def frontend(lab: RunningLab) -> str:
    """The frontend in the lab's registry, by digest."""
    pushed = images.push_program(lab.blubber, lab.registry, REPOSITORY)
    return f"{lab.registry}/{REPOSITORY}@{pushed}"


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Workshop]:
    made = new_workshop(lab, repo, tmp_path)
    made.env["DOCKER_CONFIG"] = str(lab.docker_config)
    made.write(
        cd__yaml=f"service: {made.name}\nimage: {{blubber: blubber.yaml}}\n", Dockerfile="FROM nothing-of-this\n"
    )
    yield made
    made.forget()


def blubber(work: Workshop, syntax: str) -> str:
    """A blubber.yaml with two variants."""
    return (
        f"# syntax={syntax}\nversion: v4\nbase: {work.lab.registry}/lab/python:3.11-slim\nvariants:\n"
        "  build: {copies: [local]}\n"
        "  test: {includes: [build], entrypoint: [python3, -m, unittest]}\n"
        "  production: {includes: [build], entrypoint: [python3, hello.py]}\n"
    )


@pytest.mark.parametrize("builder", ["buildx", "buildkit"])
def test_each_variant_is_built_by_the_frontend(work: Workshop, frontend: str, builder: str) -> None:
    work.target(allow={"frontends": [frontend]})
    work.write(blubber__yaml=blubber(work, frontend))
    done = work.run("build-image", "--builder", builder)
    assert done.code == 0, done.err
    made = {image["variant"]: image["id"] for image in done.result["images"]}
    assert set(made) == {"test", "production"}
    for variant, image in made.items():
        labels = work.labels(image)
        assert labels["blubber.variant"] == variant == labels["org.cdlib.variant"]
        assert labels["org.opencontainers.image.base.name"] == f"{work.lab.registry}/lab/python:3.11-slim"
        assert work.read(image, "/srv/app/blubber.yaml").startswith("# syntax=")
    assert work.run("build-image", "--builder", builder).result["outcome"] == "unchanged"


def test_a_name_without_digest_gets_the_one_that_is_allowed(work: Workshop, frontend: str) -> None:
    """The tag `1` is in no registry: what is fetched is what the operators have listed."""
    work.target(allow={"frontends": [frontend]})
    work.write(blubber__yaml=blubber(work, f"{frontend.partition('@')[0]}:1"))
    done = work.run("build-image", "--variant", "production")
    assert done.code == 0 and frontend.partition("@")[2] in done.err, done.err


def test_what_the_frontend_says_is_shown(work: Workshop, frontend: str) -> None:
    work.target(allow={"frontends": [frontend]})
    work.write(blubber__yaml=blubber(work, frontend).replace("v4", "v3"))
    done = work.run("build-image", "--variant", "production")
    assert done.code == 3 and "of version v4" in "\n".join(done.problem), done.err


def test_a_frontend_that_the_operators_do_not_allow_is_refused(work: Workshop, frontend: str) -> None:
    other = f"{frontend.partition('@')[0]}@sha256:{'0' * 64}"
    for allowed, syntax in (([], frontend), ([frontend], other), ([frontend], "evil.example.org/lab/blubber:1")):
        work.target(allow={"frontends": allowed})
        work.write(blubber__yaml=blubber(work, syntax))
        done = work.run("build-image")
        assert done.code == 2 and "operators have not allowed" in done.problem[0], done.err
        assert "building by" not in done.err and work.images() == []


def test_the_engine_s_own_builder_says_what_it_lacks(work: Workshop, frontend: str) -> None:
    work.target(allow={"frontends": [frontend]})
    work.write(blubber__yaml=blubber(work, frontend))
    done = work.run("build-image", "--builder", "engine")
    assert done.code == 2 and "needs BuildKit" in done.problem[0], done.err
