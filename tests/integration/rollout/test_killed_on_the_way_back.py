"""A run that is killed in its own automatic rollback, once its image is quarantined: the same command again."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from deployments import Deployment
from killing import EXPIRES, HEALED, break_another_image, holder, shorten_lease


def dying_helm(folder: Path, program: Path) -> Path:
    """A Helm that kills who asks it for a rollback."""
    script = folder / "dying-helm"
    script.write_text(
        '#!/bin/sh\ncase " $* " in *" rollback "*) kill -9 $PPID; exec sleep 60;; esac\n'
        f'exec {shlex.quote(str(program))} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def killed(web: Deployment, lab: Any, tmp_path: Path) -> tuple[Deployment, str, list[str]]:
    """A release that is broken since its run was killed, the commit that was good, and the words of that run."""
    good = web.git("rev-parse", "HEAD")
    done = web.deploy()
    assert done.code == 0, done.err
    argv = break_another_image(web)
    dead = web.run(*argv, env={"CD_HELM": str(dying_helm(tmp_path, lab.helm4))})
    assert dead.code < 0, dead.err
    assert web.helm_statuses()[-1] == (2, "deployed"), "what is broken is live"
    assert web.record()["quarantine"] and holder(web)
    return web, good, argv


def is_back(web: Deployment, good: str) -> bool:
    record = web.record()
    live = next(entry for entry in record["revisions"] if entry["revision"] == record["live"])
    return (live["commit"], live["status"]) == (good, "verified") and web.serving()["revision"] == good


def test_the_same_command_again_goes_back_to_the_end_and_then_is_refused(
    killed: tuple[Deployment, str, list[str]],
) -> None:
    web, good, argv = killed
    assert shorten_lease(web)
    began = time.monotonic()
    again = web.run(*argv)
    assert time.monotonic() - began <= EXPIRES + HEALED
    assert again.code == 7, again.err
    assert (again.result["failed_revision"], again.result["rolled_back_to"]) == (2, 1)
    assert "left by a run that died" in again.err and "is quarantined" in again.err
    assert is_back(web, good) and holder(web) == ""
    before = web.helm_statuses()
    refused = web.run(*argv)
    assert refused.code == 6, refused.err
    assert "helm-rollback --list" in refused.result["error"]["hint"]
    assert web.helm_statuses() == before


def test_under_a_hold_that_was_set_since_it_is_finished_as_well(killed: tuple[Deployment, str, list[str]]) -> None:
    web, good, argv = killed
    assert web.run("cd-hold", "--set", "an incident").code == 0
    assert shorten_lease(web)
    web.commit()  # another commit, whose own refusal comes first
    again = web.run(*argv)
    assert again.code == 6, again.err
    assert "on hold" in again.result["error"]["message"]
    assert "is back on revision 1" in "\n".join(again.result["error"]["details"])
    assert is_back(web, good) and holder(web) == ""
