"""People who use Helm beside us: what they have made is gone back to, and what they are at work on is left alone."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from deployments import CRASH, HANG, Deployment, until

# A hook that lasts until it is told that it may end.
HELD = "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.2)"
BUDGET = 30  # seconds, of which at most 9 are spent on waiting for others


def by_hand(web: Deployment, *argv: str, **values: str) -> list[str]:
    """The command line of somebody who uses Helm alone, on the service's chart."""
    set_to = {"image.repository": web.image, "image.digest": web.digest, **values}
    words = [f"{key}={json.dumps(value)}" for key, value in set_to.items()]
    return ["helm", *argv, "web", str(web.folder / "chart"), "-n", web.namespace,
            *(word for each in words for word in ("--set-json", each))]  # fmt: skip


def call(web: Deployment, argv: list[str]) -> None:
    subprocess.run(argv, env=dict(web.env), check=True, capture_output=True)


def text(web: Deployment) -> str:
    return str(web.serving()["text"])


def at_work(web: Deployment, *argv: str, hook: str = HANG) -> subprocess.Popen[bytes]:
    """Somebody's Helm that waits for a hook."""
    helm = subprocess.Popen(by_hand(web, *argv, hook=hook, text="by hand"), env=dict(web.env), stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)  # fmt: skip
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    return helm


@pytest.fixture
def taken_over(web: Deployment) -> Deployment:
    """A release that somebody has installed without us."""
    call(web, by_hand(web, "install", "--wait", text="by hand"))
    assert text(web) == "by hand"
    return web


def test_a_first_deploy_that_crashes_gives_back_what_was_there(taken_over: Deployment) -> None:
    web = taken_over
    web.commit(program=CRASH)
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert "made by Helm, by none of our runs, nor verified before" in failed.result["error"]["message"]
    assert (failed.result["rolled_back_to"], failed.result["revision"], failed.result["commit"]) == (1, 3, "")
    assert text(web) == "by hand"
    assert web.helm_statuses()[-1] == (3, "deployed")
    entry = web.record()["revisions"][-1]
    assert (entry["status"], entry["commit"], entry["digest"]) == ("verified", "", web.digest)
    assert [row["state"] for row in web.run("cd-status").result["releases"]] == ["verified"]
    web.commit(text="mended")
    done = web.deploy()
    assert done.code == 0, done.err
    assert text(web) == "mended"


def test_by_hand_it_is_gone_back_to_by_insisting(taken_over: Deployment) -> None:
    web = taken_over
    web.commit(text="ours")
    assert web.deploy().code == 0
    refused = web.run("helm-rollback", "--to", "1")
    assert refused.code == 6, refused.err
    assert "only Helm knows it" in refused.err
    back = web.run("helm-rollback", "--to", "1", "--unverified")
    assert back.code == 0, back.err
    assert text(web) == "by hand"
    assert web.run("helm-rollback", "--to", "1", "--unverified").result["outcome"] == "unchanged"


@pytest.mark.parametrize("first", [True, False], ids=["install", "upgrade"])
def test_somebodys_helm_is_left_alone_and_how_to_clear_it_up_is_told(web: Deployment, first: bool) -> None:
    web.targets["environments"]["test"]["budget"] = f"{BUDGET}s"
    web.commit(text="ours")
    if not first:
        assert web.deploy().code == 0
        web.commit(text="newer")
    helm = at_work(web, "install" if first else "upgrade")
    before: Any = web.helm_statuses()
    held = web.deploy()
    assert held.code == 9, held.err
    assert "none of our runs has begun it" in held.result["error"]["message"]
    assert web.helm_statuses() == before and helm.poll() is None
    (row,) = web.run("cd-status").result["releases"]
    assert (row["state"], row["helm_status"]) == ("unrecorded", before[-1][1])
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == ""
    helm.kill()
    helm.wait()
    assert web.deploy().code == 9, "nobody can tell a Helm that was killed from one that works"
    call(web, held.result["error"]["hint"].rpartition("clear it by: ")[2].split())
    done = web.deploy()
    assert done.code == 0, done.err
    assert text(web) == ("ours" if first else "newer")


def test_somebodys_helm_is_waited_for(web: Deployment) -> None:
    assert web.deploy().code == 0
    commit = web.commit(text="ours")
    helm = at_work(web, "upgrade", hook=HELD)
    ours = web.deploy_until("waits for somebody else's Helm")
    assert ours.poll() is None, ours.communicate()
    web.kubectl("exec", "job/web-pre", "--", "touch", "/tmp/go")
    _, err = ours.communicate(timeout=120)
    assert ours.returncode == 0, err
    assert helm.wait() == 0
    assert web.serving() == {"revision": commit, "text": "ours"}
    assert web.helm_statuses() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
