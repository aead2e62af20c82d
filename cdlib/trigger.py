"""Who asked for a run, and what for: Zuul of today or of old, a Jenkins job's parameters, or a person.

The names and meanings of ZUUL_* are those of Zuul 2, which Jenkins jobs know; the `zuul` variable is Zuul's own
since version 3, and comes as a JSON or YAML file that CD_ZUUL names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdlib.errors import Refused, UsageProblem
from cdlib.given import given_text

if TYPE_CHECKING:
    from cdlib.source import Source

PUBLISHING_PIPELINES = ("gate", "post")  # also everything that begins with one, as `postmerge`
VARIABLE = "CD_ZUUL"
NONE = "0" * 40  # what git and Zuul write where a branch was made or deleted
_LARGEST = 4 * 2**20  # bytes
_NUMBER = re.compile(r"[0-9]{1,18}")
_CHANGE_REF = re.compile(r"refs/changes/\d\d/(\d+)/(\d+)\Z")


@dataclass(frozen=True)
class Trigger:
    """Where a run came from. Fields are empty where the trigger has none.

    `changes` are all that the run stands for, as `number,patchset`, its own among them. `git_url` with
    `project` is where the source is fetched from, and `url` the page that shows the run.
    """

    source: str  # zuul | jenkins | person
    pipeline: str = ""
    project: str = ""
    change: str = ""
    patchset: str = ""
    commit: str = ""
    ref: str = ""
    build: str = ""
    url: str = ""
    who: str = ""
    branch: str = ""
    oldrev: str = ""
    newrev: str = ""
    buildset: str = ""
    git_url: str = ""
    changes: tuple[str, ...] = ()

    @property
    def may_publish(self) -> bool:
        """Whether the pipeline is one that publishes."""
        return self.pipeline.startswith(PUBLISHING_PIPELINES)

    def require_publishing(self, policy: str, doing: str) -> None:
        """Raise Refused where `policy` asks for a publishing pipeline and this is none.

        A guard against accidents: whoever may start a job may type a pipeline's name.
        """
        if policy != "none" and not self.may_publish:
            where = f"the pipeline {self.pipeline!r}" if self.pipeline else "no pipeline"
            raise Refused(
                f"{doing} is refused in {where}: the environment's policy is {policy!r}",
                hint="let Zuul's gate or postmerge pipeline do it, or use an environment whose policy is none",
            )


def read_trigger(environment: Mapping[str, str] | None = None, source: Source | None = None) -> Trigger:
    """The trigger as the environment describes it: CD_ZUUL before ZUUL_* before Jenkins' variables before a person.

    `source` is the work tree that the run is about; a person's commit is the one that lies there. Raises
    UsageProblem, which names the variable, where something is missing, or contradicts something else.
    """
    env = {name: value for name, value in (os.environ if environment is None else environment).items() if value}
    if env.get(VARIABLE):
        found = _of_variable(Path(env[VARIABLE]), env)
    elif env.get("ZUUL_UUID") or env.get("ZUUL_PIPELINE"):
        found = _of_environment(env, "zuul")
    elif env.get("BUILD_TAG"):  # set in every build; JENKINS_URL may be a person's, for jenkins-run
        found = _of_environment(env, "jenkins")
    else:
        who = env.get("SUDO_USER", "") or env.get("USER", "") or "unknown"
        return Trigger(source="person", who=who, commit=source.commit if source else "")
    if source and found.commit and found.commit != source.commit:
        raise _contradiction("ZUUL_COMMIT", found.commit, f"the work tree {source.folder}", source.commit)
    return found


def _of_environment(env: Mapping[str, str], source: str) -> Trigger:
    """ZUUL_*, as a Jenkins job has them: from Zuul itself, or typed by whoever started it."""
    _require_whole(env)
    newrev = _commit(env, "ZUUL_NEWREV")
    return Trigger(
        source=source,
        pipeline=env.get("ZUUL_PIPELINE", ""),
        project=env.get("ZUUL_PROJECT", ""),
        change=env.get("ZUUL_CHANGE", ""),
        patchset=env.get("ZUUL_PATCHSET", ""),
        commit=env.get("ZUUL_COMMIT", "") or newrev,
        ref=env.get("ZUUL_REF", ""),
        build=env.get("ZUUL_UUID", "") if source == "zuul" else env.get("BUILD_TAG", ""),
        url=env.get("BUILD_URL", ""),
        who="zuul" if source == "zuul" else env.get("BUILD_USER_ID", "") or "jenkins",
        branch=env.get("ZUUL_BRANCH", "") or env.get("ZUUL_REFNAME", "").removeprefix("refs/heads/"),
        oldrev=_commit(env, "ZUUL_OLDREV"),
        newrev=newrev,
        git_url=env.get("ZUUL_URL", ""),
        changes=tuple(env.get("ZUUL_CHANGE_IDS", "").split()) or _own(env),
    )


def _require_whole(env: Mapping[str, str]) -> None:
    """Raise UsageProblem for the first of ZUUL_* that is missing, or contradicts another."""
    for name in ("ZUUL_CHANGE", "ZUUL_PATCHSET"):
        _require_number(name, env.get(name, ""))
    needed = {
        "ZUUL_PIPELINE": "ZUUL_UUID",
        "ZUUL_PROJECT": "ZUUL_UUID",
        "ZUUL_PATCHSET": "ZUUL_CHANGE",
        "ZUUL_CHANGE": "ZUUL_PATCHSET",
    }
    for missing, because in needed.items():
        if env.get(because) and not env.get(missing):
            raise UsageProblem(f"{missing} is missing, although {because} is there", hint=f"set {missing} as well")
    if env.get("ZUUL_CHANGE") and env.get("ZUUL_NEWREV"):
        raise _contradiction("ZUUL_CHANGE", env["ZUUL_CHANGE"], "ZUUL_NEWREV", env["ZUUL_NEWREV"])
    own = ",".join((env.get("ZUUL_CHANGE", ""), env.get("ZUUL_PATCHSET", "")))
    ids, ref = env.get("ZUUL_CHANGE_IDS", "").split(), _CHANGE_REF.match(env.get("ZUUL_REF", ""))
    newrev, branch = _commit(env, "ZUUL_NEWREV"), env.get("ZUUL_BRANCH", "")
    pairs = [
        ("ZUUL_CHANGE_IDS", own if own in (",", *(ids or [own])) else " ".join(ids), "ZUUL_CHANGE,ZUUL_PATCHSET", own),
        ("ZUUL_REF", ",".join(ref.groups()) if ref and own != "," else own, "ZUUL_CHANGE,ZUUL_PATCHSET", own),
        ("ZUUL_COMMIT", env.get("ZUUL_COMMIT", "") or newrev, "ZUUL_NEWREV", newrev or env.get("ZUUL_COMMIT", "")),
        ("ZUUL_BRANCH", branch, "ZUUL_REFNAME", env.get("ZUUL_REFNAME", "").removeprefix("refs/heads/") or branch),
    ]
    for name, value, other, expected in pairs:
        if value and value != expected:
            raise _contradiction(name, value, other, expected)


def _require_number(name: str, value: str) -> None:
    """Raise UsageProblem for what is no number: anybody may type it, and it goes into charts, comments and links."""
    if value and not _NUMBER.fullmatch(value):
        raise UsageProblem(
            f"{name} is no number: {value!r:.80}", hint="give it as Gerrit shows it, by its digits alone"
        )


def _of_variable(file: Path, env: Mapping[str, str]) -> Trigger:
    """The `zuul` variable of Zuul 3 and later; ZUUL_* may stand beside it where they say the same."""
    zuul = _read_variable(file)
    given = zuul.get("project")
    project: dict[str, Any] = given if isinstance(given, dict) else {}
    needed = {f"zuul.{name}": zuul.get(name) for name in ("build", "pipeline", "ref")}
    for name, value in {**needed, "zuul.project.name": project.get("name")}.items():
        if not value:
            raise UsageProblem(f"{name} is missing in {file}", hint=f"write the whole `zuul` variable to {VARIABLE}")
    for name in ("change", "patchset"):
        _require_number(f"zuul.{name}", _text(zuul, name))
    there = (zuul.get("projects") or {}).get(project.get("canonical_name")) or {}
    items = [item for item in zuul.get("items") or () if isinstance(item, dict) and item.get("change")]
    found = Trigger(
        source="zuul",
        pipeline=_text(zuul, "pipeline"),
        project=_text(project, "name"),
        change=_text(zuul, "change"),
        patchset=_text(zuul, "patchset"),
        commit=_text(there, "commit") or _text(zuul, "commit_id") or _text(zuul, "newrev"),
        ref=_text(zuul, "ref"),
        build=_text(zuul, "build"),
        url=env.get("BUILD_URL", ""),
        who="zuul",
        branch=_text(zuul, "branch"),
        oldrev=_text(zuul, "oldrev"),
        newrev=_text(zuul, "newrev"),
        buildset=_text(zuul, "buildset"),
        git_url=env.get("ZUUL_URL", ""),
        changes=tuple(f"{_text(item, 'change')},{_text(item, 'patchset')}" for item in items),
    )
    said = {"ZUUL_PIPELINE": found.pipeline, "ZUUL_PROJECT": found.project, "ZUUL_CHANGE": found.change,
            "ZUUL_PATCHSET": found.patchset, "ZUUL_BRANCH": found.branch, "ZUUL_COMMIT": found.commit}  # fmt: skip
    for name, value in said.items():
        if env.get(name, value) != value:
            raise _contradiction(name, env[name], VARIABLE, value)
    return found


def _read_variable(file: Path) -> dict[str, Any]:
    import yaml

    text = given_text(file, VARIABLE, hint="write it by to_json", most=_LARGEST)
    try:
        document = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as problem:
        raise UsageProblem(
            f"{VARIABLE} names {file}, which cannot be read as JSON or YAML", hint="write it by to_json"
        ) from problem
    inner = document.get("zuul", document) if isinstance(document, dict) else None
    if not isinstance(inner, dict):
        raise UsageProblem(f"{VARIABLE} names {file}, which holds no `zuul` variable", hint="write it by to_json")
    return inner


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else str(value)


def _commit(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    return "" if value == NONE else value


def _own(env: Mapping[str, str]) -> tuple[str, ...]:
    return (f"{env['ZUUL_CHANGE']},{env['ZUUL_PATCHSET']}",) if env.get("ZUUL_CHANGE") else ()


def _contradiction(name: str, value: str, other: str, expected: str) -> UsageProblem:
    return UsageProblem(
        f"{name} contradicts {other}: {value!r} is not {expected!r}", hint=f"set only one of them, or mend {name}"
    )
