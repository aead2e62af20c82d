"""The Jenkins jobs are made by Jenkins Job Builder as an operator would, and held to what they promise."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, parse

import click
import pytest
import yaml

from cdlib.gerrit.message import Comment
from cdlib.gerrit.report import read_report
from cdlib.target import DEFAULT_BUDGET
from jjb import JJB, LABELS, SERVICES, make
from lab.jenkins.definition import Definition, define

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "jjb"
STEPS = {
    "check": ["cd-checkout", "build-image", "run-tests"],
    "gate": ["cd-checkout", "build-image", "run-tests", "publish-tag"],
    "authorize": ["cd-checkout", "authorize-deploy"],
    "deploy": ["cd-checkout", "publish-tag", "helm-deploy", "gerrit-comment"],
    "rollback": ["helm-rollback", "cd-checkout", "gerrit-comment"],
    "hold": ["cd-hold"],
    "build-image": ["cd-checkout", "build-image"],
    "run-tests": ["cd-checkout", "run-tests"],
    "publish-tag": ["cd-checkout", "publish-tag"],
    "helm-deploy": ["cd-checkout", "helm-deploy"],
}  # fmt: skip
ZUUL = {f"ZUUL_{name}" for name in ["URL", "PROJECT", "REF", "COMMIT", "BRANCH", "CHANGE", "PATCHSET", "PIPELINE", "UUID", "NEWREV", "OLDREV", "REFNAME", "CHANGE_IDS", "CHANGES"]}  # fmt: skip
# What the agents' operators set, and what would let a starter of jobs send credentials or results elsewhere.
OF_THE_SITE = {
    "CD_TARGETS",
    "CD_SIGNING_KEY",
    "CD_BUILD_KEY",
    "CD_TEST_KEY",
    "CD_PERMIT_KEY",
    "CD_PERMIT",
    "CD_AUDIT",
    "CD_DIR",
    "CD_OUT",
    "CD_JSON",
    "CD_QUIET",
    "CD_TIMEOUT",
    "CD_WAIT_LEASE",
    "CD_RESULT",
    "CD_GERRIT_URL",
    "CD_VOTE",
    "CD_METRICS_FILE",
    "CD_PUSHGATEWAY",
}
# What a job decides by what it is: options that have a variable, but no place in the job.
DECIDED = {
    "check": {"CD_VARIANT", "CD_DIRTY", "CD_DRY_RUN"},
    "gate": {"CD_VARIANT", "CD_DIRTY", "CD_DRY_RUN", "CD_CANDIDATE", "CD_TAG", "CD_MOVING"},
    "authorize": {"CD_DRY_RUN"},
    "deploy": {"CD_VARIANT", "CD_CANDIDATE", "CD_TAG", "CD_DIGEST", "CD_MOVING"},
    "rollback": {"ZUUL_COMMIT"},
    "build-image": {"CD_DIRTY"},
    "run-tests": {"CD_DIRTY"},
    "publish-tag": {"CD_CANDIDATE"},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The XML of every job, as `jenkins-jobs test` writes it, one folder a job."""
    out = tmp_path_factory.mktemp("jjb")
    make(JJB, out)
    return out


def jobs(made: Path, stage: str = "") -> Iterator[tuple[str, Definition]]:
    """Each job's kind with its definition, for all services."""
    for service in SERVICES:
        for kind in LABELS:
            if stage in ("", kind):
                yield kind, define((made / f"{service}-{kind}" / "config.xml").read_bytes())


def commands(script: str) -> list[tuple[str, float]]:
    """Our commands in a step, each with its --timeout in seconds."""
    return [(name, float(limit)) for name, limit in re.findall(r"\b([a-z]+-[a-z]+)\b[^\n&|]*? --timeout (\d+)", script)]


def command(name: str) -> click.Command:
    found = importlib.import_module(f"jobs.{name.replace('-', '_')}").main
    assert isinstance(found, click.Command)
    return found


def test_every_service_has_every_job(made: Path) -> None:
    assert {p.name for p in made.iterdir() if p.is_dir() and p.name != ".cache"} == {
        f"{s}-{kind}" for s in SERVICES for kind in LABELS
    }
    for service in SERVICES:
        lines = [
            line for line in (JJB / "services" / f"{service}.yaml").read_text().splitlines() if not line.startswith("#")
        ]
        assert len(lines) <= 8


def test_where_and_how_long_each_runs(made: Path) -> None:
    for kind, job in jobs(made):
        assert job.label == LABELS[kind] and job.quiet_period == 0
        assert job.concurrent is (kind not in ("deploy", "rollback", "hold", "helm-deploy"))
        assert 0 < job.keep_days <= 90 and 0 < job.keep_builds <= 500 and not job.timeout_fails


def test_limits_nest(made: Path) -> None:
    for kind, job in jobs(made):
        (script,) = job.steps
        limits = commands(script)
        assert [name for name, _ in limits] == ["cd-report", *STEPS[kind]], script
        assert sum(limit for _, limit in limits) + 60 <= job.timeout * 60
        if kind in ("deploy", "rollback", "helm-deploy"):
            assert dict(limits)["helm-rollback" if kind == "rollback" else "helm-deploy"] >= DEFAULT_BUDGET + 60


def test_what_a_job_reads_is_declared(made: Path) -> None:
    for kind, job in jobs(made):
        declared = {parameter.name for parameter in job.parameters}
        assert "CD_REQUEST" in declared and (kind in ("rollback", "hold") or declared >= ZUUL)
        read = {
            str(o.envvar)
            for name in STEPS[kind]
            for o in command(name).params
            if isinstance(o, click.Option) and o.envvar
        }
        assert read - declared - OF_THE_SITE == DECIDED.get(kind, set()), kind
        assert declared - read - ZUUL - {"CD_REQUEST"} == set(), "declared, but read by nobody"
        assert not declared & OF_THE_SITE


def test_parameters_never_reach_a_shell_line(made: Path) -> None:
    for _, job in jobs(made):
        (script,) = job.steps
        for parameter in job.parameters:
            # CD_DRY_RUN is only ever set here: a checkout has to take place even in a dry run.
            assert not re.search(rf"\$\{{?{parameter.name}\b", script), script
        code = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
        assert set(re.findall(r"\$\{?([A-Za-z_]+)", code)) <= {
            "PATH",
            "CD_HOME",
            "CD_GERRIT_URL",
            "CD_BUILD_KEY",
            "CD_TEST_KEY",
            "CD_PERMIT_KEY",
            "status",
            "step",
            "outcome",
        }
        assert not re.search(r"\{[a-z_]+\}|eval|`", code)


def test_the_shell_accepts_each_step(made: Path) -> None:
    for _, job in jobs(made):
        done = subprocess.run(["/bin/sh", "-n"], input=job.steps[0], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_results_are_kept_whatever_happens(made: Path) -> None:
    for _, job in jobs(made):
        archive, reports = job.publishers
        assert (archive.patterns, archive.allow_empty) == (".cd/**", True) and archive == type(archive)(
            ".cd/**", allow_empty=True
        )
        assert (reports.patterns, reports.allow_empty) == (".cd/reports/**/*.xml,.cd/rollout.xml", True)


def test_secrets_are_bound_where_they_are_needed_only(made: Path) -> None:
    for kind, job in jobs(made):
        variables = [variable for binding in job.bindings for variable in binding.variables]
        assert variables == (["CD_GERRIT_USER", "CD_GERRIT_PASSWORD"] if kind in ("deploy", "rollback") else [])
        assert not [p for p in job.parameters if p.kind == "Password"]


def test_what_does_without_a_source_is_for_one_service(made: Path) -> None:
    for kind in ("authorize", "rollback", "hold"):
        for (_, job), service in zip(jobs(made, kind), SERVICES, strict=True):
            (parameter,) = (p for p in job.parameters if p.name == "CD_SERVICE")
            assert parameter.choices == (service,)


@pytest.mark.parametrize("stage", ["deploy", "rollback"])
@pytest.mark.parametrize("fails", ["helm-deploy helm-rollback", "cd-checkout", "gerrit-comment", "cd-report", ""])
def test_what_cannot_be_told_does_not_change_how_it_ended(made: Path, tmp_path: Path, stage: str, fails: str) -> None:
    """The step of the job, with commands that only say that they ran, and end with 7 where they fail."""
    (_, job), *_ = jobs(made, stage)
    script = tmp_path / "any"
    script.write_text(
        f'#!/bin/sh\necho "${{0##*/}}" >> {tmp_path}/ran\ncase " {fails} " in *" ${{0##*/}} "*) exit 7;; esac\n'
    )
    script.chmod(0o755)
    for name in (*STEPS[stage], "cd-report"):
        (tmp_path / name).symlink_to(script)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CD_HOME": str(tmp_path), "CD_GERRIT_URL": "http://gerrit"}
    done = subprocess.run(["/bin/sh", "-e", "-c", job.steps[0]], cwd=tmp_path, env=env, capture_output=True)
    needed = {"deploy": ("cd-checkout", "helm-deploy"), "rollback": ("helm-rollback",)}[stage]
    assert done.returncode == (7 if set(needed) & set(fails.split()) else 0), done.stderr
    *ran, last = (tmp_path / "ran").read_text().split()
    assert (
        last == "cd-report"
        and ran[-1] == "gerrit-comment"
        and (ran == STEPS[stage] or (stage, fails) == ("deploy", "cd-checkout"))
    )


@pytest.mark.parametrize(("stage", "last", "ends", "said"), [
    ("deploy", "helm-deploy", "kill -9 $$", "Nobody knows how the deploy ended: helm-deploy ended with status 137"),
    ("deploy", "helm-deploy", "exit 2", "Not deployed: helm-deploy ended with status 2, and left no result"),
    ("deploy", "helm-deploy", "rm $0; exit 127", "Not deployed: helm-deploy ended with status 127"),
    ("deploy", "publish-tag", "kill -9 $$", "Not deployed: publish-tag ended with status 137"),
    ("deploy", "cd-checkout", "kill -9 $$", "Not deployed: cd-checkout ended with status 137"),
    ("rollback", "helm-rollback", "kill -9 $$", "Nobody knows how the rollback ended: helm-rollback ended with"),
    ("rollback", "helm-rollback", "exit 2", "Not rolled back: helm-rollback ended with status 2"),
])  # fmt: skip
def test_a_step_that_left_no_result_is_told(
    made: Path, tmp_path: Path, stage: str, last: str, ends: str, said: str
) -> None:
    """Each step before it ended well and said so; what gerrit-comment reads is not theirs."""
    (_, job), *_ = jobs(made, stage)
    for name in (*STEPS[stage], "cd-report"):
        script = tmp_path / name
        good = json.dumps(
            {"schema": "cd-result/1", "command": name, "outcome": "done", "exit_code": 0, "duration_s": 1}
        )
        does = {last: ends, "gerrit-comment": "cp .cd/cd-result.json told", "cd-report": ":"}
        leaves = f"case $1 in --out) exit;; esac; mkdir -p .cd; echo {good!r} > .cd/cd-result.json"
        script.write_text(f"#!/bin/sh\n{does.get(name, leaves)}\n")
        script.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CD_HOME": str(tmp_path), "CD_GERRIT_URL": "http://gerrit"}
    done = subprocess.run(["/bin/sh", "-e", "-c", job.steps[0]], cwd=tmp_path, env=env, capture_output=True)
    report = read_report(tmp_path / "told")
    assert report.worth_telling and report.exit_code == done.returncode != 0
    assert Comment(report, "abc").text().startswith(said)


@pytest.mark.parametrize("rollback", ["true", "false", ""])
def test_permitting_a_rollback_needs_no_git_server(made: Path, tmp_path: Path, rollback: str) -> None:
    (_, job), *_ = jobs(made, "authorize")
    for name, code in (("cd-checkout", 7), ("authorize-deploy", 0), ("cd-report", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CD_HOME": str(tmp_path), "CD_ROLLBACK": rollback}
    done = subprocess.run(["/bin/sh", "-e", "-c", job.steps[0]], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == (0 if rollback == "true" else 7)


def test_an_operator_is_told_when_to_start_it(made: Path) -> None:
    for _, job in jobs(made):
        assert re.search(r"\bStart it\b", job.description) and len(job.description) > 100
    for config in made.glob("*/config.xml"):
        for parameter in parse(config).iter():
            if parameter.tag.endswith("ParameterDefinition"):
                assert (parameter.findtext("description") or "").endswith("."), parameter.findtext("name")


def test_what_zuul_starts_is_there_and_ends_before_zuul_does(made: Path) -> None:
    limits = {kind: job.timeout * 60 for kind, job in jobs(made)}
    started = []
    for file in (ROOT / "zuul.d").glob("*.yaml"):
        for entry in yaml.load(file.read_text(), Loader=_Tagged):
            job = entry.get("job", {})
            if job.get("parent") == "cd-jenkins":
                plays = yaml.safe_load((ROOT / str(job["run"])).read_text())
                stage = next(play["vars"]["cd_stage"] for play in plays if "vars" in play)
                started.append(stage)
                # jenkins-run gets 120 s less than Zuul's job, and leaves some for the queue and for artifacts.
                assert limits[stage] + 60 <= job["timeout"] - 120, job["name"]
    assert sorted(started) == ["authorize", "check", "deploy", "gate"]


class _Tagged(yaml.SafeLoader):
    """Reads Zuul's files, whose secrets have a tag."""


_Tagged.add_multi_constructor("!", lambda loader, suffix, node: None)

PLUGINS = {"hudson.plugins.timestamper": "timestamper", "hudson.plugins.build__timeout": "build-timeout",
           "hudson.plugins.build_timeout": "build-timeout", "hudson.tasks.junit": "junit",
           "org.jenkinsci.plugins.credentialsbinding": "credentials-binding"}  # fmt: skip
CORE = ("hudson.model.", "hudson.tasks.Shell", "hudson.tasks.ArtifactArchiver", "hudson.tasks.LogRotator", "hudson.scm.NullSCM", "jenkins.model.",
        "java.util.")  # fmt: skip


def test_the_plugins_that_are_needed_are_listed(made: Path) -> None:
    needed = set()
    for config in made.glob("*/config.xml"):
        for element in parse(config).iter():
            needed |= {plugin for name in classes(element) if (plugin := plugin_of(name))}
    listed = yaml.safe_load((JJB / "plugins.yaml").read_text())
    assert {entry["shortName"] for entry in listed} == needed
    assert all(entry["version"] and entry["longName"] for entry in listed)


def classes(element: Element) -> Iterator[str]:
    yield from (name for name in (element.tag, element.get("class", "")) if "." in name)


def plugin_of(name: str) -> str:
    if name.startswith(CORE) and not name.startswith("hudson.tasks.junit"):
        return ""
    return next(plugin for package, plugin in PLUGINS.items() if name.startswith(package))


def test_what_a_change_to_a_template_does_is_seen(made: Path) -> None:
    """A golden copy of one service's jobs. After a change that is meant: CD_GOLDEN=write pytest tests/unit/test_jjb.py"""
    for kind in LABELS:
        config, golden = made / f"hello-{kind}" / "config.xml", GOLDEN / f"hello-{kind}.xml"
        if os.environ.get("CD_GOLDEN") == "write":
            shutil.copyfile(config, golden)
        assert config.read_text() == golden.read_text(), f"{golden.name} differs; see this test's own words"


def test_services_differ_by_their_names_only(made: Path) -> None:
    for kind in LABELS:
        first, second = ((made / f"{s}-{kind}" / "config.xml").read_text().replace(s, "SERVICE") for s in SERVICES)
        assert first == second


def test_a_site_may_choose(tmp_path: Path) -> None:
    copy = tmp_path / "jjb"
    shutil.copytree(JJB, copy)
    (copy / "services" / "hello.yaml").write_text(
        "- project: {name: hello, service: hello, jobs: [cd-service], project: team/hi, branch: main, git_url: 'git://g',\n"
        "            deploy_secrets: none, gate_secrets: keys, test_key: other, authorize_secrets: permit,\n"
        "            keep_days: 3}\n"
    )
    make(copy, tmp_path / "out")
    gate = define((tmp_path / "out" / "hello-gate" / "config.xml").read_bytes())
    assert [(each.kind, each.credential, each.variables) for each in gate.bindings] == [
        ("file", "cd-build-key", ("CD_BUILD_KEY",)),
        ("file", "other", ("CD_TEST_KEY",)),
    ]
    authorize = define((tmp_path / "out" / "hello-authorize" / "config.xml").read_bytes())
    assert [(each.credential, each.variables) for each in authorize.bindings] == [("cd-permit-key", ("CD_PERMIT_KEY",))]
    job = define((tmp_path / "out" / "hello-deploy" / "config.xml").read_bytes())
    defaults = {p.name: p.default for p in job.parameters}
    assert job.bindings == () and job.keep_days == 3
    assert (defaults["ZUUL_PROJECT"], defaults["ZUUL_REF"], defaults["ZUUL_URL"]) == (
        "team/hi",
        "refs/heads/main",
        "git://g",
    )


def test_versions_of_cdlib_on_an_agent(tmp_path: Path) -> None:
    home = tmp_path / "cdlib"

    def call(*args: str) -> tuple[int, str]:
        done = subprocess.run([str(JJB / "install-cdlib"), *args], capture_output=True, text=True, cwd=tmp_path,
                              env={**os.environ, "CD_HOME": str(home), "PYTHON": str(tmp_path / "python")})  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    # A python whose environments have a pip that installs nothing but a command that starts, or does not.
    (tmp_path / "python").write_text(
        '#!/bin/sh\nmkdir -p "$3/bin"; cp "$0" "$3/bin/python"\n'
        f'cat > "$3/bin/python" <<END\n#!/bin/sh\necho "\\$@" > {tmp_path}/pip\nEND\n'
        f'cp {tmp_path}/command "$3/bin/build-image"; chmod +x "$3/bin/python"\n'
    )
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "command").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "command").chmod(0o755)
    (tmp_path / "w.whl").touch()
    assert call("add", "1.0", "w.whl", "--constraint", "c.txt")[0] == 0
    asked = "-m pip install --quiet --disable-pip-version-check"
    assert (tmp_path / "pip").read_text() == f"{asked} --constraint c.txt {tmp_path}/w.whl\n"
    assert call("use", "1.0")[0] == 0 and (home / "current").resolve() == home / "1.0"
    (tmp_path / "command").write_text("#!/bin/sh\nexit 1\n")
    assert call("add", "1.1", "w.whl")[0] != 0 and call("use", "1.1")[0] == 2  # it does not start
    (tmp_path / "command").write_text("#!/bin/sh\nexit 0\n")
    assert call("add", "1.1", "./w.whl[otel]")[0] == 0 and call("use", "1.1")[0] == 0
    assert (tmp_path / "pip").read_text() == f"{asked} {tmp_path}/w.whl[otel]\n"
    assert call("list") == (0, "  1.0\n* 1.1\n")
    assert call("remove", "1.1")[0] == 2 and call("add", "1.0", "x")[0] == 2
    assert call("use", "1.0")[0] == 0 and call("remove", "1.1")[0] == 0 and call("list") == (0, "* 1.0\n")
    for bad in ("../x", "current", "", ".x", "a b"):
        assert call("use", bad)[0] == 2 and call("add", bad, "w.whl")[0] == 2
    # A package index is never asked for it: whoever has the name there would run on the agent.
    (tmp_path / "pip").unlink()
    for name in ("cdlib==1.2", "gerrit-cd", "no.whl", "[otel]"):
        assert call("add", "1.2", name)[0] == 2 and not (home / "1.2").exists()
    assert not (tmp_path / "pip").exists()
    (tmp_path / "gerrit-cd").mkdir()  # a folder, which pip would take for a name
    assert call("add", "1.2", "gerrit-cd")[0] == 0
    assert (tmp_path / "pip").read_text() == f"{asked} {tmp_path}/gerrit-cd\n"
