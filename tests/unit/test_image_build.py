"""Builders: which one, what it is told, and what its log says of a failure."""

from __future__ import annotations

import gc
import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import StandInRegistry

from cdlib.deadline import Deadline
from cdlib.errors import BuildFailed, NotAllowed, Refused, RegistryRefused, Unavailable, UsageProblem
from cdlib.image import builders, choice
from cdlib.image.bases import Base
from cdlib.image.build import _require_known_bases
from cdlib.image.builders import BuildKit, Buildx, EngineBuilder, Order
from cdlib.image.buildlog import BuildKitLog, EngineLog
from cdlib.image.engine import Engine
from cdlib.image.engine_errors import explained, transfer_problem
from cdlib.image.lines import Lines, Shown
from cdlib.image.plan import Plan
from cdlib.image.platforms import Platforms
from cdlib.reference import parse
from cdlib.registry.repository import Registries
from cdlib.run import Run

HOSTILE = "a 'b' \"c\" $HOME `id` \\ ü\nnext; rm -rf /"
CACHE = parse("r.test/candidates/hello:cache-test")


def order(**more: Any) -> Order:
    plan = Plan("hello", "test", "test", "FROM x\n", "docker/Dockerfile", more.pop("frontend", ""), True,
                {"MESSAGE": HOSTILE}, {"org.cdlib.key": "k" * 64, "org.cdlib.tree": "a" * 40}, "k" * 64, False,
                attested=more.pop("attested", False))  # fmt: skip
    return Order(plan, Path("/context"), Path("/recipe/Dockerfile"), **more)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# The choice


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a docker 28 that has no plugin, and behind it a docker 20.10."""
    script(
        tmp_path / "new" / "docker", 'case "$1" in --version) echo "Docker version 28.2.2, build x";; *) exit 1;; esac'
    )
    script(tmp_path / "old" / "docker", 'echo "Docker version 20.10.24+dfsg1, build x"')
    monkeypatch.setenv("PATH", f"{tmp_path}/new:{tmp_path}/new:{tmp_path}/old")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    for name in ("BUILDX_BUILDER", "BUILDX_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(choice, "_PLUGINS", (str(tmp_path / "lib"),))
    return tmp_path


def choose(wanted: str = "auto") -> Any:
    return choice.choose(wanted, Engine(Deadline(9)), Deadline(9))


def test_a_client_that_still_carries_buildkit_is_found_behind_one_that_does_not(machine: Path) -> None:
    found = choose()
    assert isinstance(found, BuildKit) and found.program == machine / "old" / "docker" and found.version == "20.10.24"
    assert "20.10.24" in found.about and isinstance(choose("engine"), EngineBuilder)
    with pytest.raises(UsageProblem, match="no working buildx"):
        choose("buildx")
    (machine / "old" / "docker").unlink()
    assert isinstance(choose(), EngineBuilder)
    with pytest.raises(UsageProblem, match="older than 23"):
        choose("buildkit")


@pytest.mark.parametrize("place", ["config/cli-plugins", "lib/docker/cli-plugins", "extra"])
def test_buildx_comes_first_where_it_works(machine: Path, place: str) -> None:
    plugin = script(machine / place / "docker-buildx", "exit 1")
    if place == "extra":
        script(machine / "config" / "cli-plugins" / "docker-buildx", "exit 0")
        (machine / "config" / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(plugin.parent), 1]}))
    assert isinstance(choose(), BuildKit)  # the plugin is there, and does not work
    plugin.write_bytes(b"\x7fELF of another machine")
    assert isinstance(choose(), BuildKit)
    script(plugin, 'test "$1" = version || printf "Name:   mine\\nDriver: docker-container\\n"')
    assert choose() == Buildx(plugin, "docker")
    plugin.chmod(0o644)
    assert isinstance(choose(), Buildx if place == "extra" else BuildKit)  # the next one that docker would take


@pytest.mark.parametrize("how", ["variable", "current", "default", "unreadable"])
def test_a_builder_that_somebody_has_chosen_is_asked_for_its_driver(
    machine: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    plugin = machine / "config" / "cli-plugins" / "docker-buildx"
    script(plugin, 'test "$1" = version || printf "Name:   mine\\nDriver: docker-container\\n"')
    kept = machine / "config" / "buildx"
    (kept / "defaults").mkdir(parents=True)
    (kept / "current").write_text('{"Key": "unix:///x", "Name": "", "Global": false}')
    assert isinstance(choose(), Buildx) and choose().driver == "docker"
    if how == "variable":
        monkeypatch.setenv("BUILDX_BUILDER", "mine")
    elif how == "default":
        (kept / "defaults" / "abc").write_text("mine")
    else:
        (kept / "current").write_text('{"Name": "mine"}' if how == "current" else "{")
    assert choose().driver == "docker-container"


def test_no_docker_command_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(choose(), EngineBuilder)


# What they are told


@pytest.mark.parametrize("builder", [Buildx(Path("/d"), "docker"), BuildKit(Path("/d"), "20.10")])
def test_values_travel_as_arguments(builder: Buildx | BuildKit) -> None:
    words = builder.command(order())
    assert words[words.index("--build-arg") + 1] == f"MESSAGE={HOSTILE}"
    assert words[words.index("--target") + 1] == "test" and words[-1] == "/context"
    assert "cdlib/hello:test-" + "k" * 16 in words and not any("cache" in word.lower() for word in words[:-1])
    assert HOSTILE.split("\n")[1] in builder.describe(order())


def test_every_builder_is_told_of_the_platform_that_the_key_is_for() -> None:
    wanted = order()
    there = replace(wanted, plan=replace(wanted.plan, platforms=Platforms("linux/arm64", "linux/amd64")))
    for builder in (Buildx(Path("/d"), "docker"), BuildKit(Path("/d"), "20.10")):
        words = builder.command(there)
        assert words[words.index("--platform") + 1] == "linux/arm64"
    engine = EngineBuilder(Engine(Deadline(9)))
    assert "platform=linux/arm64" in engine.describe(there) and "platform=" not in engine.describe(wanted)
    assert builders._other_platform(there.plan) == "linux/arm64" and builders._other_platform(wanted.plan) is None


def test_caches_as_far_as_each_builder_can() -> None:
    both = order(cache_from=CACHE, cache_to=CACHE)
    assert f"type=registry,ref={CACHE},mode=max,ignore-error=true" in Buildx(Path("/d"), "docker-container").command(
        both
    )
    inline = Buildx(Path("/d"), "docker").command(both)
    assert "type=inline" in inline and f"type=registry,ref={CACHE}" in inline
    old = BuildKit(Path("/d"), "20.10").command(both)
    assert "BUILDKIT_INLINE_CACHE=1" in old and old[old.index("--cache-from") + 1] == str(CACHE)


@pytest.mark.parametrize("builder", [Buildx(Path("/d"), "docker"), BuildKit(Path("/d"), "20.10")])
def test_an_attested_build_takes_nothing_that_another_has_left(builder: Buildx | BuildKit) -> None:
    words = builder.command(order(attested=True, cache_to=CACHE))
    assert "--no-cache" in words and "--cache-from" not in words
    assert words[words.index(f"BUILDKIT_CACHE_MOUNT_NS=cd-{'a' * 40}") - 1] == "--build-arg"
    assert words[words.index("--tag") + 1] == "cdlib-attested/hello:test-" + "k" * 16, "nor a whole image"
    assert "BUILDKIT_CACHE_MOUNT_NS" not in builder.describe(order()) and "--no-cache" not in builder.describe(order())


def test_the_engines_builder_takes_nothing_either(tmp_path: Path) -> None:
    class Spy(Engine):
        def build(self, name: str, context: Any, recipe: str, **options: Any) -> Any:
            seen.append(options)
            return (item for item in ())

    seen: list[dict[str, Any]] = []
    for attested in (True, False):
        made = order(attested=attested)
        wanted = replace(made, context=tmp_path, plan=replace(made.plan, recipe="FROM x AS test\n"))
        EngineBuilder(Spy(Deadline(9))).build(Run("test", Deadline(9)), wanted)
    assert [(each["nocache"], each["cache_from"]) for each in seen] == [(True, None), (False, None)]


def test_what_is_attested_has_bases_that_a_registry_has(registry: StandInRegistry) -> None:
    name = f"{registry.host}/lab/base"
    digest, absent = registry.add_image("lab/base", "1"), "sha256:" + "0" * 64
    known = Base("known", name, digest, f"{name}@{digest}")
    here, unseen = Base("x", name, absent, "x"), Base("unseen", name, absent, f"{name}@{absent}")
    plan, registries = order(attested=True).plan, Registries(Run("test", Deadline(9)))
    _require_known_bases(replace(plan, bases=(known,)), registries)
    _require_known_bases(replace(order().plan, bases=(here, unseen)), registries)
    for other in (here, unseen):
        with pytest.raises(Refused, match=f"no registry has its base image {other.name}"):
            _require_known_bases(replace(plan, bases=(known, other)), registries)


def test_the_engine_cannot_read_frontends() -> None:
    with pytest.raises(UsageProblem, match="needs BuildKit"):
        EngineBuilder(Engine(Deadline(9))).build(Run("test", Deadline(9)), order(frontend="r.test/f@sha256:0"))
    assert "target=test" in EngineBuilder(Engine(Deadline(9))).describe(order())


def test_a_failing_command_becomes_a_failed_build(machine: Path) -> None:
    program = script(
        machine / "docker",
        'echo "#4 [test 2/2] RUN make"; echo "#4 0.1 no rule" >&2; echo "#4 ERROR: exit code: 2"; exit 1',
    )
    run, seen = Run("test", Deadline(9)), list[str]()
    run.events.listen(lambda event: seen.append(event["line"]))
    with pytest.raises(BuildFailed, match=r"variant test does not build at \[test 2/2\] RUN make") as caught:
        BuildKit(program, "20.10").build(run, order())
    assert "no rule" in caught.value.details and "#4 0.1 no rule" in seen


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("#4 ERROR: mkdir /x: no space left on device", Unavailable, "disk is full"),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            Unavailable,
            "no Docker Engine",
        ),
    ],
)
def test_failures_that_are_not_the_builds(machine: Path, text: str, kind: type[Exception], said: str) -> None:
    program = script(machine / "docker", f"echo '{text}' >&2; exit 1")
    with pytest.raises(kind, match=said):
        BuildKit(program, "20.10").build(Run("test", Deadline(9)), order())


# Logs, as BuildKit 0.8 (docker 20.10), BuildKit 0.20 (buildx) and the Engine write them

OLD = """\
#4 importing cache manifest from r.test/x:1
#4 sha256:5d149e46d6f591640fe083871a5a5a2ee2376c214546bb4abfa112f3c98e8069
#4 ERROR: r.test/x:1: not found

#5 [base 2/3] RUN echo other
#5 sha256:749abf30d118475df3c817d072639870904e5520de0ba36757ac3856c4b100a3
#8 [bad 1/1] RUN echo about; echo to; sh -c "exit 7"
#8 sha256:849abf30d118475df3c817d072639870904e5520de0ba36757ac3856c4b100a3
#5 0.187 another step
#8 0.198 about
#8 0.198 to
#8 ERROR: executor failed running [/bin/sh -c echo about]: exit code: 7

#5 [base 2/3] RUN echo other
#5 ERROR: context canceled
------
 > [bad 1/1] RUN echo about; echo to; sh -c "exit 7":
------
executor failed running [/bin/sh -c echo about]: exit code: 7
"""
NEW = """\
#0 building with "default" instance using docker driver

#8 [bad 1/1] RUN echo about; echo to; sh -c "exit 7"
#8 0.152 about
#8 0.152 to
#8 ERROR: process "/bin/sh -c echo about" did not complete successfully: exit code: 7
------
 > [bad 1/1] RUN echo about:
0.152 about
------
ERROR: failed to build: failed to solve: process "/bin/sh -c echo about" did not complete successfully: exit code: 7
"""


@pytest.mark.parametrize("text", [OLD, NEW])
def test_the_failing_step_and_its_lines(text: str) -> None:
    log = BuildKitLog()
    for line in text.splitlines():
        log.feed(line)
    assert log.step == '[bad 1/1] RUN echo about; echo to; sh -c "exit 7"'
    assert log.lines[:2] == ["about", "to"] and log.lines[2].endswith("exit code: 7") and len(log.lines) == 3


def test_a_failure_outside_of_any_step() -> None:
    log = BuildKitLog()
    for line in (
        "#1 [internal] load build definition",
        "failed to solve: dockerfile parse error line 2: unknown instruction: FOO",
    ):
        log.feed(line)
    assert log.step == "" and "unknown instruction: FOO" in log.lines[-1]


def test_a_long_step_is_cut_to_its_last_lines() -> None:
    log = BuildKitLog()
    log.feed("#4 [1/1] RUN make")
    for number in range(100):
        log.feed(f"#4 {number}.1 line {number}")
    log.feed("#4 ERROR: exit code: 1")
    assert len(log.lines) == 15 and log.lines[-2:] == ["line 99", "exit code: 1"]


def test_the_engines_own_log() -> None:
    log, shown = EngineLog(), list[str]()
    for item in (
        {"stream": "Step 4/5 : RUN echo about"}, {"stream": "\n"}, {"stream": " ---> Running in 392c0c3bc557\n"},
        {"stream": "about\nt"}, {"stream": "o\n"}, {"stream": "Removing intermediate container 392c0c3bc557\n"},
        {"status": "Pulling", "id": "x"}, {"status": "Downloading", "progress": "[=> ]"}, {"aux": {"ID": "sha256:0"}},
        {"errorDetail": {"code": 7}, "error": "The command '/bin/sh -c x' returned a non-zero code: 7"},
    ):  # fmt: skip
        shown += log.feed(item)
    assert log.step == "Step 4/5 : RUN echo about" and log.lines[:2] == ["about", "to"] and len(log.lines) == 3
    assert "x: Pulling" in shown and "about" in shown and "to" in shown


def test_output_is_shown_up_to_a_limit_and_its_end_kept() -> None:
    seen: list[str] = []
    lines = Lines(seen.append, limit=50, kept=3)
    lines.feed("erste Zeile ü".encode()[:-1])
    lines.feed("ü".encode()[1:] + b"\r\n")
    assert seen == ["erste Zeile ü"]
    for number in range(100):
        lines.feed(f"line {number}\n".encode())
    lines.feed(b"no end")
    lines.feed(b"")
    assert seen[-1].startswith("… the rest") and len(seen) < 10 and list(lines.last) == ["line 98", "line 99", "no end"]
    long = Lines(seen.append, limit=10**6)
    long.feed(b"x" * 100_000)
    assert len(seen[-1]) == 4000


def test_a_build_that_never_stops_talking_shows_so_much_and_no_more() -> None:
    seen: list[str] = []
    show = Shown(seen.append, limit=100, most=3)
    for line in ("a", "b" * 5000, "c", "d"):
        show(line)
    assert [line[:5] for line in seen] == ["a", "… the"]
    log = EngineLog()
    for _ in range(200):
        shown = log.feed({"stream": "x" * 1000})
        assert all(len(line) <= 4000 for line in shown) and len(log._partial) <= 5000
    assert sum(map(len, log.lines)) <= 15 * 5000


# The Engine's errors


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("denied: requested access to the resource is denied", NotAllowed),
        ("unauthorized: authentication required", NotAllowed),
        ("no basic auth credentials", NotAllowed),
        ("received unexpected HTTP status: 500 Internal Server Error", Unavailable),
        ("toomanyrequests: slow down", Unavailable),
        ("Get \"https://r.test/v2/\": dial tcp: lookup r.test: no such host", Unavailable),
        ("EOF", Unavailable),
        ("name unknown: project not found", RegistryRefused),
        ("write /var/lib/docker/x: no space left on device", Unavailable),
        ("something new", Unavailable),
    ],
)  # fmt: skip
def test_what_a_push_says(said: str, kind: type[Exception]) -> None:
    problem = transfer_problem(said, "pushing r.test/x:1", "r.test")
    assert type(problem) is kind and problem.hint
    assert "disk is full" in problem.message or said in problem.message
    if said == "something new":
        assert isinstance(problem, Unavailable) and not problem.retryable


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(Unavailable, match="no Docker Engine answers") as caught:
        Engine(Deadline(9)).image("x")
    assert caught.value.exit_code == 69 and "DOCKER_HOST" in caught.value.hint
    del caught
    gc.collect()  # docker-py leaves its socket open where it cannot connect


def test_the_current_docker_context_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert Engine(Deadline(9))._where == {}
    # As `docker context create away --docker host=…` and `docker context use away` write them.
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "away"}))
    host = f"unix://{tmp_path}/away.sock"
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"away").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "away", "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}))
    assert Engine(Deadline(9))._where["base_url"] == host
    monkeypatch.setenv("DOCKER_CONTEXT", "none")
    with pytest.raises(UsageProblem, match="no docker context 'none'"):
        _ = Engine(Deadline(9))._where
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere.sock")
    assert Engine(Deadline(9))._where["base_url"].endswith("/elsewhere.sock")


def test_other_errors_of_docker() -> None:
    import docker.errors
    import requests

    def answer(status: int) -> Any:
        response = requests.Response()
        response.status_code = status
        return response

    for status, said, kind in (
        (403, "plugin says no", NotAllowed), (500, "boom", Unavailable), (400, "bad parameter", UsageProblem),
        (500, "mkdir: no space left on device", Unavailable),
    ):  # fmt: skip
        with pytest.raises(kind), explained("working"):
            raise docker.errors.APIError("x", response=answer(status), explanation=said)
    for text, kind in (
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", NotAllowed),
        ("Credentials store error: StoreError('locked')", UsageProblem),
    ):
        with pytest.raises(kind), explained("working"):
            raise docker.errors.DockerException(text)


def test_every_builder_says_what_it_is() -> None:
    for builder in (Buildx(Path("/d"), "docker"), BuildKit(Path("/d"), "20.10"), EngineBuilder(Engine(Deadline(1)))):
        checked: builders.Builder = builder
        assert checked.name in ("buildx", "buildkit", "engine") and checked.about
