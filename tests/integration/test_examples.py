"""The example of docs/first-pipeline.md on real servers, with its stand-in image."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cdlib import process
from cdlib.deadline import Deadline
from lab.testing import CHECKOUT, MakeRepository, RunningLab

BLUBBEROID = CHECKOUT / "examples" / "blubberoid"


@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_its_chart_renders(lab: RunningLab, program: str) -> None:
    given = "image.repository=registry.example.org/blubberoid,image.digest=sha256:0,policy=https://x/p.yaml"
    chart = BLUBBEROID / "chart"
    made = lab.run(getattr(lab, program), "template", "blubberoid", chart, "--set", given).stdout
    assert 'image: "registry.example.org/blubberoid@sha256:0"' in made and 'args: ["--policy=https://x/p.yaml"]' in made
    lab.run(getattr(lab, program), "lint", chart)


def test_it_goes_from_a_commit_to_serving(
    lab: RunningLab, repo: MakeRepository, namespace: str, tmp_path: Path
) -> None:
    service = repo(BLUBBEROID)
    shutil.copyfile(BLUBBEROID / "stand-in" / "cd.yaml", service.folder / "cd.yaml")
    commit = service.commit("the stand-in's image")
    image = f"{lab.registry}/t/{namespace}"
    place = {"namespace": namespace, "release": "blubberoid"}
    entry = {"image": image, "candidates": f"{image}/candidates", "environments": {"test": place}}
    targets = {"version": 1, "environments": {"test": {"policy": "none"}}, "services": {"blubberoid": entry}}
    (tmp_path / "targets.yaml").write_text(json.dumps(targets))

    def step(command: str) -> dict[str, Any]:
        argv = [str(Path(sys.executable).parent / command), "-C", str(service.folder), "--json"]
        env = {**lab.env, "CD_TARGETS": str(tmp_path / "targets.yaml")}
        done = process.run(argv, Deadline(240, command), env=env)
        assert done.ok, done.stderr
        return dict(json.loads(done.stdout))

    step("build-image")
    assert step("run-tests")["tests"]["passed"] == 10
    step("publish-tag")
    deployed = step("helm-deploy")
    assert (deployed["outcome"], deployed["commit"], len(deployed["pods"])) == ("done", commit, 2)
