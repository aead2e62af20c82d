"""What is built, out of which bytes, and under which key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stand_ins import Fault, Server, StandInRegistry, blubberoid, serving

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, RegistryRefused, Unavailable, UsageProblem
from cdlib.image.bases import find_bases
from cdlib.image.blubber import base_images, from_blubberoid
from cdlib.image.build import make_even
from cdlib.image.dockerfile import Dockerfile, syntax_of, with_syntax
from cdlib.image.engine import LocalImage
from cdlib.image.plan import KEY_LABEL, Plan, make_plan
from cdlib.image.platforms import Platforms
from cdlib.reference import parse
from cdlib.registry.repository import Registries
from cdlib.run import Run
from cdlib.service import parse_service
from cdlib.source import open_source
from cdlib.target import Allowed, Target

FRONTEND = "docker.io/docker/dockerfile:1@sha256:" + "f" * 64


class NoEngine:
    """An Engine that has these images, or is not there."""

    def __init__(self, images: dict[str, LocalImage] | None = None) -> None:
        self.images = images

    platforms = Platforms("linux/amd64", "linux/amd64")

    def image(self, name: str) -> LocalImage | None:
        if self.images is None:
            raise Unavailable("no Docker Engine answers")
        return self.images.get(name)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("CD_BLUBBEROID_URL", raising=False)


@pytest.fixture
def run() -> Run:
    return Run("test", Deadline(20))


def target(*frontends: str) -> Target:
    name = parse("localhost:1/hello")
    return Target("hello", "hello", name, name, (), Allowed(frontends=frontends), frozenset())


def plan(folder: Path, run: Run, *, variant: str = "test", aim: Target | None = None, **options: Any) -> Plan:
    source = open_source(folder, **options)
    service = parse_service(source.read_text("cd.yaml", "the service"))
    return make_plan(run, source, service, aim, variant, Registries(run), NoEngine())  # type: ignore[arg-type]


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


# Dockerfiles


def images(text: str, stage: str, **args: str) -> list[str]:
    return [use.image for use in Dockerfile(text, "Dockerfile", args).images(stage)]


def test_only_what_a_stage_reaches_counts() -> None:
    text = """\
ARG BASE=python
ARG TAG="3.11"
FROM --platform=$BUILDPLATFORM ${BASE}:${TAG:-none} AS Build
RUN <<EOF cat > /x
from os import evil
EOF
RUN echo $((1<<N)) && \\
  # a comment
  true
FROM scratch AS empty
FROM build AS test
COPY --chown=1:1 --from=busybox:1 /a /b
COPY --from=0 /a /b
RUN --mount=type=bind,from=alpine:3,target=/x ls
FROM \\
  debian:12 AS production
COPY --from=build /a /b
from base-${TARGETOS} as lower
"""
    assert images(text, "test") == ["python:3.11", "busybox:1", "alpine:3"]
    assert images(text, "TEST", TAG="3.12", BASE="r.test/p")[0] == "r.test/p:3.12"
    assert images(text, "production") == ["python:3.11", "debian:12"]
    assert images(text, "empty") == [] and images(text, "1") == []
    assert images(text, "lower") == ["base-linux"]
    read = Dockerfile(text, "Dockerfile", {})
    assert read.base("empty") is None and read.base("test").image == "python:3.11"  # type: ignore[union-attr]
    pins = {"python:3.11": "python@sha256:1", "busybox:1": "bb@sha256:2", "alpine:3": "al@sha256:3", "debian:12": "no"}
    pinned = read.pinned(pins, "test").splitlines()
    assert pinned[2] == "FROM --platform=$BUILDPLATFORM python@sha256:1 AS Build"
    assert "COPY --chown=1:1 --from=bb@sha256:2 /a /b" in pinned and "COPY --from=0 /a /b" in pinned
    assert "RUN --mount=type=bind,from=al@sha256:3,target=/x ls" in pinned and "from os import evil" in pinned
    assert "  debian:12 AS production" in pinned and len(pinned) == len(text.splitlines())
    assert "  no AS production" in read.pinned(pins, "production").splitlines()


def test_keys_of_mounts_have_any_case() -> None:
    text = "FROM a AS test\nRUN --mount=type=bind,From=evil:1,target=evil:1 x\nONBUILD COPY --from=evil:2 / /\n"
    assert images(text, "test") == ["a", "evil:1", "evil:2"]
    pinned = Dockerfile(text, "Dockerfile", {}).pinned({"evil:1": "e@sha256:1", "evil:2": "e@sha256:2"}, "test")
    assert ",From=e@sha256:1,target=evil:1 x" in pinned and "--from=e@sha256:2 /" in pinned


@pytest.mark.parametrize(
    "steps",
    [
        "COPY\\\n --from=evil / /", "CO\\\nPY --from=evil / /", "\\\nCOPY --from=evil / /", "run --mount=FROM=evil x",
        "RUN --mount=type=cache,target='/a b' --mount=from=evil x", "RUN true \\\n\n\nCOPY --from=no\nCOPY --from=evil / /",
        "RUN cat \\\n<<EOF >/x\nfrom a import b\nEOF\nCOPY --from=evil / /",
    ],
)  # fmt: skip
def test_what_buildkit_takes_from_is_seen(steps: str) -> None:
    assert images(f"FROM a AS test\n{steps}\n", "test") == ["a", "evil"]


@pytest.mark.parametrize(
    "steps",
    [
        'RUN --mount=type=bind,"from=evil",target=/x y', "RUN --mount=type=bind,fr\\om=evil y", "COPY --fr'om'=evil / /",
        'RUN --mo"unt"=from=evil x', "RUN --mount='type=bind,from=evil x", "RUN echo \\\\\nCOPY --from=evil / /",
        "RUN echo ' <<EOF '\nCOPY --from=evil / /\nRUN true \\\nEOF", "RUN cat <<EOF\nFROM evil AS test\nEOF",
        "RUN cat <<a.b\nFROM scratch AS evil\na.b\nCOPY --from=evil / /", "RUN cat <<E;x\nE\nFROM a AS evil\nE;x",
        "RUN cat <<E\n\tE\nFROM a AS evil\nE", "FROM evil AS test", "RUN x\x0cFROM scratch AS evil\n", "FROM b c",
        "RUN --mount=from=\xe0 x",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(steps: str) -> None:
    with pytest.raises(UsageProblem, match="more than one way"):
        images(f"FROM a AS test\n{steps}\n", "test")


def test_an_image_that_cannot_be_pinned_is_refused() -> None:
    with pytest.raises(UsageProblem, match="no digest can be put in its place"):
        Dockerfile("FROM ev\\\nil AS test\n", "Dockerfile", {}).pinned({"evil": "e@sha256:1"}, "test")


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("FROM $X", "x:1"), ("FROM ${X}", "x:1"), ("FROM ${X:-other}", "x:1"), ("FROM ${Y:-${X}}", "x:1"),
        ("FROM ${X:+alt}", "alt"), ('FROM "x:1"', "x:1"), ("FROM ${Y}x:1", "x:1"), ("FROM\tx:1\tAS\ta", "x:1"),
    ],
)  # fmt: skip
def test_variables_in_from(line: str, image: str) -> None:
    assert images(f"ARG X=x:1\nARG Y\n{line}\n", "0") == [image]


def test_an_unknown_stage_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageProblem, match="no stage 'test'") as caught:
        Dockerfile("FROM a AS build\nFROM b AS Production\n", "docker/Dockerfile", {}).images("test")
    assert "build, production" in caught.value.hint
    with pytest.raises(UsageProblem, match="no stage"):
        Dockerfile("# nothing\n", "Dockerfile", {}).images("test")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# syntax=a/b:1\nFROM x", (0, "a/b:1")), ("#syntax = a/b:1  \n", (0, "a/b:1")), ("//syntax=a\n", (0, "a")),
        ("#!/usr/bin/env x\n# escape=`\n# SYNTAX=a\n", (2, "a")), ("\ufeff#!x\n# syntax=a\n", (1, "a")),
        ("\ufeff# syntax=a\n", (0, "a")), ("FROM x\n# syntax=a\n", None), ("\n# syntax=a\n", None),
        ("# a comment\n# syntax=a\n", None), ("", None),
        ("# a=b\x0cc\n# syntax=a\r\n", (1, "a")),
    ],
)  # fmt: skip
def test_syntax_lines_are_found_where_buildkit_finds_them(text: str, found: tuple[int, str] | None) -> None:
    assert syntax_of(text, "Dockerfile") == found


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=a\n# syntax=evil\nFROM x\n", "# syntax=a\n# escape=\\\n//Syntax = evil\n", "# syntax=a\n# x=1\x0b\n# syntax=b\n",
        '{"syntax": "a"}', '\ufeff\n {"Syntax": "a"}\nFROM x', '#!/bin/x\n{"syntax": "a"}', '{"a": ' * 100, "{ no json",
        "# a=b\n#!/bin/x\n# syntax=a\n", "# syntax=a\n #!/bin/x\n",
    ],
)  # fmt: skip
def test_what_versions_of_buildkit_take_two_frontends_from_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="versions of BuildKit differ") as caught:
        syntax_of(text, "Dockerfile")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("# syntax=a", "# syntax=P\n"), ("\ufeff#Syntax = syntax ", "\ufeff#Syntax =P\n"), ("// syntax=a b\r", "// syntax=P\r\n"),
    ],
)  # fmt: skip
def test_the_pin_is_put_where_the_frontend_stands(line: str, pinned: str) -> None:
    assert with_syntax(f"{line}\nFROM a", "Dockerfile", 0, "P") == f"{pinned}FROM a"
    with pytest.raises(UsageProblem):
        with_syntax(f"{line}\n# syntax=a\n", "Dockerfile", 0, "P")


@pytest.mark.parametrize(
    "text",
    [
        "ARG A0=xx\n" + "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(30)) + "FROM $A30 AS test\n",
        f"ARG A={'x' * 8000}\nARG B={'$A' * 8000}\nFROM a AS test\n",
        f"ARG A={'x' * 8000}\n" + "".join(f"ARG B{n}=$A\n" for n in range(8)) + "FROM a AS test\n",
        f"ARG A={'x' * 8000}\nFROM $A AS test\n",
    ],
)  # fmt: skip
def test_arguments_that_grow_without_end(text: str) -> None:
    with pytest.raises(UsageProblem, match="longer than 64 KiB") as caught:
        images(text, "test")
    assert caught.value.hint


# Bases


def bases(run: Run, name: str, engine: NoEngine) -> Any:
    return find_bases(run, [name], Registries(run), engine, "Dockerfile")[0]  # type: ignore[arg-type]


def test_the_registry_says_what_a_base_is(run: Run, registry: StandInRegistry) -> None:
    digest = registry.add_image("lab/base", "latest")
    here = f"{registry.host}/lab/base"
    found = bases(run, here, NoEngine())
    assert (found.digest, found.pin, found.reference) == (digest, f"{here}@{digest}", f"{here}:latest")
    registry.seen.clear()
    assert bases(run, f"{here}:any@{digest}", NoEngine()).pin == f"{here}@{digest}" and not registry.seen


def test_a_base_that_only_the_engine_has(run: Run, registry: StandInRegistry) -> None:
    name = f"{registry.host}/lab/mine:1"
    found = bases(run, name, NoEngine({name: LocalImage("sha256:id")}))
    assert (found.digest, found.pin) == ("sha256:id", name)


def test_a_registry_that_is_away_leaves_what_was_pulled(run: Run, registry: StandInRegistry) -> None:
    name, digest = f"{registry.host}/lab/base:1", "sha256:" + "a" * 64
    registry.faults.append(Fault("HEAD", "manifests", 503))
    warned: list[str] = []
    run.events.listen(lambda event: warned.append(event["text"]) if event["event"] == "warning" else None)
    pulled = LocalImage("sha256:id", pulled_as=(f"other/name@{digest[:-1]}b", f"{registry.host}/lab/base@{digest}"))
    assert bases(run, name, NoEngine({name: pulled})).digest == digest and "503" in warned[0]


def test_a_base_that_nobody_has(run: Run, registry: StandInRegistry) -> None:
    with pytest.raises(RegistryRefused, match="has no 9") as caught:
        bases(run, f"{registry.host}/lab/base:9", NoEngine({}))
    assert caught.value.message.startswith("Dockerfile names the image")
    registry.faults.append(Fault("HEAD", "manifests", 503, times=3))
    digest = registry.add_image("lab/base", "1")
    assert bases(run, f"{registry.host}/lab/base:1", NoEngine({})).digest == digest
    registry.faults.append(Fault("HEAD", "manifests", 403))
    with pytest.raises(NotAllowed):
        bases(run, f"{registry.host}/lab/base:1", NoEngine({}))
    with pytest.raises(UsageProblem, match="no image name"):
        bases(run, "Not/A Name", NoEngine({}))


# Keys and labels


@pytest.fixture
def service(tmp_path: Path, git: Any, registry: StandInRegistry) -> Path:
    registry.add_image("base", "1")
    folder = write(
        tmp_path / "hello",
        cd__yaml="service: hello\nimage: {args: {A: b}}\n",
        Dockerfile=f"FROM {registry.host}/base:1 AS test\nCOPY . /x\nFROM test AS production\n",
    )
    git(folder)
    return folder


def test_the_key_is_of_tree_configuration_and_bases_alone(
    service: Path, run: Run, registry: StandInRegistry, git: Any
) -> None:
    first = plan(service, run)
    assert len(first.key) == 64 and first.labels[KEY_LABEL] == first.key
    assert first.candidate_tag == f"test-{first.key}" and first.local_name == f"cdlib/hello:test-{first.key[:16]}"
    assert plan(service, run, variant="production").key != first.key
    git(service, "another commit of the same tree")
    assert plan(service, run).key == first.key
    moved = registry.add_image("base", "1", text="moved")
    second = plan(service, run)
    assert second.key != first.key and moved in second.recipe
    assert second.labels["org.opencontainers.image.base.digest"] == moved
    write(service, other="file")
    git(service)
    assert plan(service, run).key not in (first.key, second.key)


def test_uncommitted_changes_make_another_key_even_where_they_change_no_byte_later(
    service: Path, run: Run, git: Any
) -> None:
    write(service, other="file")
    clean, dirty = plan(service, run), plan(service, run, with_changes=True)
    assert dirty.dirty and dirty.labels["org.cdlib.dirty"] == "true" and clean.labels["org.cdlib.dirty"] == "false"
    git(service)
    assert plan(service, run).key not in (clean.key, dirty.key)


def test_labels_hold_nothing_that_changes_from_run_to_run(service: Path, run: Run) -> None:
    labels = plan(service, run).labels
    assert labels["org.opencontainers.image.title"] == "hello" and "org.opencontainers.image.source" not in labels
    assert open_source(service).commit not in str(labels)
    config = service / ".git" / "config"
    config.write_text(config.read_text() + '[remote "origin"]\n\turl = https://me:secret@git.example.org/hello\n')
    assert plan(service, run).labels["org.opencontainers.image.source"] == "https://git.example.org/hello"
    config.write_text(config.read_text().replace("https://me:secret@git.example.org", "/srv/git"))
    assert "org.opencontainers.image.source" not in plan(service, run).labels


def test_a_syntax_line_must_be_allowed_by_digest(service: Path, run: Run, git: Any) -> None:
    text = (service / "Dockerfile").read_text()
    write(service, Dockerfile=f"# syntax=docker/dockerfile:1\n{text}")
    git(service)
    for aim in (None, target(), target("docker.io/other@sha256:" + "f" * 64)):
        with pytest.raises(UsageProblem, match="operators have not allowed"):
            plan(service, run, aim=aim)
    with pytest.raises(UsageProblem, match="has no digest"):
        plan(service, run, aim=target("docker/dockerfile:1"))
    made = plan(service, run, aim=target(FRONTEND))
    assert made.recipe.startswith("# syntax=docker.io/docker/dockerfile@sha256:ffff") and made.frontend
    write(service, cd__yaml="service: hello\nimage: {args: {BUILDKIT_SYNTAX: evil/x}}\n", Dockerfile=text)
    git(service)
    with pytest.raises(UsageProblem, match="BUILDKIT_SYNTAX"):
        plan(service, run, aim=target(FRONTEND))
    write(service, cd__yaml="service: hello\nimage: {args: {BUILDKIT_CACHE_MOUNT_NS: cd-x}}\n")
    git(service)
    with pytest.raises(UsageProblem, match="cache mounts of others"):
        plan(service, run)


# Blubber


BLUBBER = "version: v4\nbase: {base}\nvariants:\n  build: {{base: x/build}}\n  test: {{includes: [build]}}\n  production: {{}}\n"


@pytest.fixture
def blubber(tmp_path: Path, git: Any, registry: StandInRegistry) -> Path:
    digest = registry.add_image("base", "1")
    folder = write(
        tmp_path / "hello",
        cd__yaml="service: hello\nimage: {blubber: blubber.yaml}\n",
        blubber__yaml=BLUBBER.format(base=f"{registry.host}/base:1").replace(
            "x/build", f"{registry.host}/base@{digest}"
        ),
    )
    git(folder)
    return folder


def test_a_blubberoid_makes_the_dockerfile(
    blubber: Path, run: Run, registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Server(blubberoid)) as server:
        monkeypatch.setenv("CD_BLUBBEROID_URL", server.url + "/")
        made = plan(blubber, run, variant="production")
        assert server.seen[0].path == "/v1/production" and server.seen[0].headers["Content-Type"] == "application/yaml"
    digest = registry.tags("base")["1"]
    assert made.recipe.startswith(f"FROM {registry.host}/base@{digest} AS production") and made.stage == ""
    assert made.labels["org.opencontainers.image.base.digest"] == digest and not made.frontend


@pytest.mark.parametrize(
    ("text", "variant", "said"),
    [
        ("version: v3\nvariants: {test: {}}", "test", "unsupported"),
        ("version: v4\nvariants: {test: {}}", "prüfung", "does not exist"),
        ("a: [", "test", "formatted correctly"),
    ],
)
def test_what_blubber_does_not_accept(run: Run, text: str, variant: str, said: str) -> None:
    with serving(Server(blubberoid)) as server, pytest.raises(UsageProblem, match=said) as caught:
        from_blubberoid(run, text, "blubber.yaml", variant, server.url)
    assert caught.value.exit_code == 2 and caught.value.hint


@pytest.mark.parametrize("status", [404, 405, 415, 302])
def test_what_is_no_blubberoid(run: Run, status: int) -> None:
    with (
        serving(Server(lambda _: (status, {}, b"what?"))) as server,
        pytest.raises(UsageProblem, match="no Blubberoid"),
    ):
        from_blubberoid(run, "version: v4", "blubber.yaml", "test", server.url)


def test_a_blubberoid_in_trouble(run: Run) -> None:
    with serving(Server(blubberoid)) as server:
        server.faults.append(Fault("POST", "/v1", 502, times=2))
        assert from_blubberoid(run, "version: v4\nbase: b\nvariants: {test: {}}", "x", "test", server.url)
        server.faults.append(Fault("POST", "/v1", 502))
        with pytest.raises(Unavailable, match="502"):
            from_blubberoid(run, "version: v4", "x", "test", server.url)
    with pytest.raises(Unavailable):
        from_blubberoid(run, "version: v4", "x", "test", server.url)


def test_blubber_without_anything_that_reads_it(blubber: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageProblem, match="needs something") as caught:
        plan(blubber, run)
    assert "CD_BLUBBEROID_URL" in caught.value.hint and "frontends" in caught.value.hint
    monkeypatch.setenv("CD_BLUBBEROID_URL", "blubberoid:8748")
    with pytest.raises(UsageProblem, match="no address"):
        plan(blubber, run)


def test_blubber_as_a_frontend(blubber: Path, run: Run, git: Any, registry: StandInRegistry) -> None:
    allowed = "r.example.org/blubber:v1@sha256:" + "c" * 64
    text = (blubber / "blubber.yaml").read_text()
    write(blubber, blubber__yaml=f"# syntax=r.example.org/blubber:v1\n{text}")
    git(blubber)
    with pytest.raises(UsageProblem, match="have not allowed"):
        plan(blubber, run)
    made = plan(blubber, run, aim=target(allowed))
    assert made.recipe.startswith("# syntax=r.example.org/blubber@sha256:ccc") and not made.is_dockerfile
    assert made.stage == "test" and made.labels["org.opencontainers.image.base.digest"] == registry.tags("base")["1"]
    first = made.key
    registry.add_image("base", "1", text="moved")
    assert plan(blubber, run, aim=target(allowed)).key != first


def test_the_images_of_a_blubber_variant() -> None:
    text = BLUBBER.format(base="top")
    assert base_images(text, "b", "test") == ("x/build", "top") and base_images(text, "b", "production") == ("top",)
    with pytest.raises(UsageProblem, match="no variant 'none'"):
        base_images(text, "b", "none")


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    "bad",
    [
        "[1]", "variants: 3", "a: [", "variants: {test: {includes: 3}}", "variants: {test: {includes: [[1]]}}", "", "3",
        f"{BOMB}base: *a8\nvariants: {{test: {{}}}}\n", "base: 2001-99-99\nvariants: {test: {}}\n", "base: [x]\nvariants: {test: {}}\n",
        "base: 2001-01-01\nvariants: {test: {}}\n", "variants: {3: {}, x: {}}\n", "base: " + "[" * 20_000,
        "variants: {test: {copies: [{from: {a: b}}]}}\n",
    ],
)  # fmt: skip
def test_a_hostile_blubber_file_is_refused_with_a_hint(bad: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        base_images(bad, "b", "test")
    assert caught.value.hint


def test_the_same_tree_has_the_same_times_and_modes(tmp_path: Path) -> None:
    for name, mode in (("a", 0o600), ("b", 0o664)):
        root = write(tmp_path / name, file="x", script="y")
        (root / "file").chmod(mode)
        (root / "script").chmod(mode | 0o100)
        (root / "link").symlink_to("/nowhere")
        (root / "folder").mkdir(mode=0o700)
        make_even(root, "abc123" + "0" * 34)
    for name in ("file", "script", "folder", "."):
        a, b = (tmp_path / "a" / name).stat(), (tmp_path / "b" / name).stat()
        assert (a.st_mode, a.st_mtime) == (b.st_mode, b.st_mtime)
    assert (tmp_path / "a" / "script").stat().st_mode & 0o777 == 0o755
    make_even(tmp_path / "b", "abc124" + "0" * 34)
    assert (tmp_path / "a" / "file").stat().st_mtime != (tmp_path / "b" / "file").stat().st_mtime


def test_labels_become_one_instruction_at_the_end_of_a_stage() -> None:
    read = Dockerfile("FROM a AS one\nRUN x\nFROM one AS two\nRUN y", "Dockerfile", {})
    value = 'a "b" \\ $C'
    assert read.with_labels({"k": value}, "one").splitlines()[2] == 'LABEL k="a \\"b\\" \\\\ \\$C"'
    assert read.with_labels({"k": "v"}, "").splitlines()[-2:] == ["RUN y", 'LABEL k="v"']
    assert read.with_labels({"k": "v"}, "two") == read.with_labels({"k": "v"}, "")


def test_each_platform_has_a_key_and_an_architecture_of_its_own(
    service: Path, run: Run, git: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(target: str) -> Plan:
        monkeypatch.setattr(NoEngine, "platforms", Platforms(target, "linux/amd64"))
        return plan(service, run)

    keys = {named(target).key for target in ("linux/amd64", "linux/arm64", "linux/arm/v7")}
    assert len(keys) == 3
    text = "FROM b-${BUILDARCH}-$TARGETOS-$TARGETARCH-$TARGETVARIANT AS test\n"
    there = Platforms("linux/arm/v7", "linux/amd64")
    assert Dockerfile(text, "Dockerfile", {}, there).images("test")[0].image == "b-amd64-linux-arm-v7"
    made = Dockerfile(text, "Dockerfile", {}, there).pinned({"b-amd64-linux-arm-v7": "b@sha256:1"}, "test")
    assert made == "FROM b@sha256:1 AS test\n"
