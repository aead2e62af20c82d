"""Runs that race for one release: one writer at a time, nothing lost, and the newer commit ends up live."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deployments import Deployment
from killing import fresh

from cdlib.rollout.kubeconfig import read_cluster
from lab.observer import Observer, Seen

RACES = 100
LEAD = 0.4  # seconds at most by which one starts before the other, so that either comes first to the lease


class LonelyHelm:
    """A Helm that notes each time that it writes while another one does."""

    def __init__(self, folder: Path, program: str) -> None:
        self._overlaps = folder / "helms-overlapping"
        script, alone = folder / "lonely-helm", shlex.quote(str(folder / "helm-at-work"))
        script.write_text(
            f'#!/bin/sh\nhelm={shlex.quote(program)}\ncase "$1" in template|get|version) exec "$helm" "$@";; esac\n'
            f"mkdir {alone} || echo $* >> {shlex.quote(str(self._overlaps))}\n"
            f'"$helm" "$@"; code=$?\nrmdir {alone}\nexit $code\n'
        )
        script.chmod(0o755)
        self.env = {"CD_HELM": str(script)}

    @property
    def overlaps(self) -> str:
        """The calls that overlapped another one."""
        return self._overlaps.read_text() if self._overlaps.exists() else ""


def work_tree(web: Deployment, name: str) -> Deployment:
    """The same service in a work tree of its own, which shares the history."""
    folder = web.folder.parent / name
    web.git("worktree", "add", "--quiet", "--detach", str(folder))
    return replace(web, folder=folder)


def race(web: Deployment, early: Deployment, late: Deployment, lead: float) -> tuple[int, int, str]:
    """Deploy a commit and the next one at once, the older one ahead by `lead` seconds (behind where it is below 0);
    how each ended, and the newer commit."""
    for each in (early, late):
        commit = web.commit(**fresh(replicas=0))
        each.git("checkout", "--quiet", "--detach", commit)
    first, second = (early, late) if lead > 0 else (late, early)
    runs = {id(first): first.start("helm-deploy", "--digest", web.digest)}
    time.sleep(abs(lead))  # by chance: the moment is what is tried here
    runs[id(second)] = second.start("helm-deploy", "--digest", web.digest)
    said = {key: run.communicate(timeout=120)[1] for key, run in runs.items()}
    codes = [runs[id(each)].returncode for each in (early, late)]
    assert codes[0] in (0, 6, 9) and codes[1] == 0, said
    return codes[0], codes[1], commit


def whole(versions: Sequence[Seen]) -> list[list[dict[str, Any]]]:
    """The revisions of each version of the record; fails where one is torn."""
    found = []
    settled: dict[int, str] = {}
    for seen in versions:
        record = json.loads(seen.object["data"]["record.json"])
        numbers = [entry["revision"] for entry in record["revisions"]]
        assert numbers == sorted(set(numbers)), "each revision once, in order"
        assert [e["status"] for e in record["revisions"]].count("deploying") <= 1, "two runs write at once"
        for entry in record["revisions"]:
            if entry["status"] == "verified":
                assert settled.setdefault(entry["revision"], entry["commit"]) == entry["commit"], "rewritten"
        found.append(record["revisions"])
    return found


@pytest.mark.timeout(900)
def test_of_two_commits_that_race_the_newer_is_live_in_the_end(
    web: Deployment, lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    helm, chance = LonelyHelm(web.folder.parent, str(lab.helm4)), random.Random(5)
    web.cd["deploy"]["verify"] = {}  # without pods there is nothing to ask
    web.env = {**web.env, **helm.env, "CD_WAIT_LEASE": "1"}
    web.commit(**fresh(replicas=0))
    assert web.deploy().code == 0
    early, late = work_tree(web, "early"), work_tree(web, "late")
    place, ends = f"/api/v1/namespaces/{web.namespace}/configmaps", Counter[int]()
    with Observer(read_cluster(lab.kubeconfig, None), f"{place}?fieldSelector=metadata.name=cd-web") as observer:
        for _ in range(RACES):
            older, _newer, commit = race(web, early, late, chance.uniform(-LEAD, LEAD))
            ends[older] += 1
            record = web.record()
            live = next(entry for entry in record["revisions"] if entry["revision"] == record["live"])
            assert (live["commit"], live["status"]) == (commit, "verified")
            running = web.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"]
            assert {"name": "REVISION", "value": commit} in running
        versions = whole(observer.seen)
    assert helm.overlaps == ""
    statuses = web.helm_statuses()
    assert [status for _, status in statuses].count("deployed") == 1 and statuses[-1][1] == "deployed"
    archived = [
        json.loads(o["data"]["revisions.json"])
        for o in web.get("configmaps")["items"]
        if "archive" in o["metadata"]["name"]
    ]
    kept = sorted(entry["revision"] for part in [*archived, versions[-1]] for entry in part)
    assert kept == list(range(1, statuses[-1][0] + 1)), "every revision is recorded once, in the record or its archive"
    with capsys.disabled():
        both = f"both deployed in {ends[0]}, the older was refused in {ends[6]} and held off in {ends[9]}"
        print(f"\n{RACES} races, {statuses[-1][0]} revisions, {len(versions)} versions of the record: {both}")
    assert ends[0] and ends[6], "either came first"


def test_of_runs_of_one_commit_that_race_one_writes_and_the_others_say_so(web: Deployment) -> None:
    assert web.deploy().code == 0
    commit = web.commit(text="raced")
    racers = [web.start("helm-deploy", "--digest", web.digest) for _ in range(4)]
    codes = sorted(process.wait(timeout=120) for process in racers)
    for process in racers:
        process.communicate()
    assert codes[0] == 0
    assert set(codes) <= {0, 9}
    assert web.serving()["revision"] == commit
    assert [status for _, status in web.helm_statuses()].count("deployed") == 1
    assert web.record()["revisions"][-1]["status"] == "verified"
