"""The API server is killed and comes back in the middle of a rollout: the watch goes on, and the verdict is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from deployments import CRASH, Deployment, Ran, until

from lab.testing import command

SLOW = "import time; time.sleep(8)\n"  # before the chart's own program
SERVER = "apiserver"


@pytest.fixture(autouse=True)
def _up_again(lab: Any) -> Iterator[None]:
    """Leave the lab whole, whatever happens here."""
    yield
    assert command("up").ok


def rolling_out(web: Deployment) -> bool:
    """Whether the last run is past Helm, and watches."""
    text = (web.folder / ".cd" / "events.jsonl").read_text(encoding="utf-8")
    return text.count('"stage": "rollout"') % 2 == 1  # begun, and not ended


def deploy_through(web: Deployment, outage: Callable[[], None]) -> Ran:
    """Deploy what is committed, with an outage as soon as its rollout is watched."""
    run = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: rolling_out(web))
    outage()
    out, err = run.communicate(timeout=200)
    return Ran(run.returncode, out, err)


def restart() -> None:
    """Kill the API server, and start it again."""
    assert command("stop", SERVER, "--kill").ok
    assert command("start", SERVER).ok


def program(web: Deployment) -> str:
    """What the chart runs by default."""
    import yaml

    return str(yaml.safe_load((web.folder / "chart" / "values.yaml").read_text(encoding="utf-8"))["program"])


def test_a_good_rollout_is_seen_to_its_end(web: Deployment) -> None:
    assert web.deploy().code == 0
    commit = web.commit(program=SLOW + program(web))
    done = deploy_through(web, restart)
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
    assert web.record()["revisions"][-1]["status"] == "verified"


def test_a_broken_rollout_is_called_and_undone(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    failed = deploy_through(web, restart)
    assert failed.code == 7, failed.err
    assert "ended" in failed.result["cause"] and "exit code 3" in failed.result["cause"], failed.err
    assert web.serving()["revision"] == good
    assert [status for _, status in web.helm_statuses()][-1] == "deployed"
