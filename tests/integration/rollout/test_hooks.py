"""A chart's hooks on a real cluster: judged while Helm waits for them, ended before a rollback."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from charts import write_chart
from deployments import CRASH, HANG, Deployment, kill_hard, until
from test_verdicts import python

DEPLOYING = "pre-install,pre-upgrade"
UNPULLABLE = {"name": "hook", "image": "localhost:5000/lab/nothing:1"}
UNSTARTABLE = python("", "hook") | {"command": ["/no/such"]}
# For Helm both names are the same each time; the second is one that `helm template` cannot know.
NAMES = {"web-hook": "web-hook", "web-hook-2": "web-hook-{{ .Release.Revision }}"}


def write_hook(web: Deployment, container: dict[str, Any], *, on: str = DEPLOYING, kind: str = "Job",
               name: str = "web-hook", **spec: Any) -> None:  # fmt: skip
    """Add a hook of this container to the service's chart."""
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    kinds: dict[str, Any] = {
        "Job": {"apiVersion": "batch/v1", "spec": {"template": {"spec": pod}, **spec}},
        "Pod": {"apiVersion": "v1", "spec": pod},
    }
    meta = {"name": name, "annotations": {"helm.sh/hook": on, "helm.sh/hook-delete-policy": "before-hook-creation"}}
    text = yaml.safe_dump({"kind": kind, "metadata": meta, **kinds[kind]})
    (web.folder / "chart" / "templates" / "hook.yaml").write_text(text, encoding="utf-8")


def names(web: Deployment, kind: str) -> list[str]:
    """What there is of a kind, also what is about to go."""
    return [str(o["metadata"]["name"]) for o in web.get(kind)["items"]]


def seconds_of(web: Deployment, stage: str) -> float:
    return float(next(e["seconds"] for e in web.events() if e["event"] == "stage_end" and e["stage"] == stage))


@pytest.fixture(params=["helm 3", "helm 4"])
def any_helm(request: pytest.FixtureRequest, web: Deployment, lab: Any) -> Deployment:
    """The service, deployed by each of both Helms in turn."""
    web.env = {**web.env, "CD_HELM": str(lab.helm3 if request.param == "helm 3" else lab.helm4)}
    return web


@pytest.mark.parametrize(
    ("container", "hook", "within", "says"),
    [
        (UNPULLABLE, {}, 20, "a hook failed: its image cannot be pulled (tried 2 times)"),
        (UNSTARTABLE, {"on": "post-upgrade", "name": "web-hook-2"}, 5, "a hook failed: cannot be started"),
        (UNSTARTABLE, {"kind": "Pod"}, 5, "a hook failed: cannot be started"),
    ],
    ids=["image", "command, after the upgrade", "a pod without a Job"],
)
def test_a_hook_that_cannot_run_is_called_in_time_and_ended(
    any_helm: Deployment, container: dict[str, Any], hook: dict[str, Any], within: float, says: str
) -> None:
    web = any_helm
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    shown = hook.get("name", "web-hook")
    write_hook(web, container, **hook | {"name": NAMES[shown]})
    web.commit(text="two")
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert says in failed.result["cause"], failed.err
    assert f"pod {shown}" in failed.result["cause"], failed.err
    # From the start of Helm, as the limits of the issue are; both Helms take up to 3 s to die.
    assert seconds_of(web, "helm upgrade") <= within + 6.0
    kind = hook.get("kind", "Job")
    assert f"{kind} {shown} was ended half-way), CRDs, migrations and data are not undone" in failed.err
    assert shown not in names(web, kind.lower())
    assert not [name for name in names(web, "pods") if name.startswith("web-hook")]
    assert web.serving() == {"revision": good, "text": ""}
    assert web.helm_statuses()[-1] == (3, "deployed")


def test_a_hook_that_crashes_shows_why(any_helm: Deployment) -> None:
    web = any_helm
    assert web.deploy().code == 0
    write_hook(web, python(CRASH, "hook"), backoffLimit=0)
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert "a hook failed: the Job web-hook has failed" in failed.result["cause"]
    assert "its last pod ended with exit code 3" in failed.result["cause"]
    assert "boom: no database" in failed.err
    assert "boom: no database" in web.evidence()
    assert "was ended half-way" not in failed.err, "it has ended by itself"


def test_a_hook_that_hangs_ends_with_its_time_and_its_log_is_kept(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.targets["environments"]["test"]["budget"] = "30s"
    write_hook(web, python(f"print('waiting for the other side'); {HANG}", "hook"))
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert "web-hook still runs" in failed.result["cause"]
    assert "waiting for the other side" in failed.err
    assert names(web, "jobs") == []
    assert web.serving()["revision"] == good


def test_a_hook_that_waits_for_what_cannot_start_does_not_hide_it(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    write_chart(web, python("") | {"command": ["/no/such"]})
    write_hook(web, python(f"print('waiting for the new version'); {HANG}", "hook"), on="post-install,post-upgrade")
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert failed.result["cause"].startswith("pod web-"), failed.err
    assert 'container web: cannot be started: exec: "/no/such"' in failed.result["cause"], failed.err
    # From the start of Helm, as above; the hook alone would have taken all of the time there is.
    assert seconds_of(web, "helm upgrade") <= 5 + 6.0
    assert "Job web-hook was ended half-way" in failed.err
    assert names(web, "jobs") == []
    assert web.serving() == {"revision": good, "text": ""}


def test_a_good_hook_is_not_judged_by_what_an_earlier_one_has_left(web: Deployment) -> None:
    write_hook(web, python(CRASH, "hook"), backoffLimit=0)
    web.commit()
    assert web.deploy().code == 8
    assert names(web, "jobs") == ["web-hook"]
    write_hook(web, python("import time; time.sleep(4)", "hook"), backoffLimit=0)
    web.commit()
    done = web.deploy()
    assert done.code == 0, done.err


def test_a_chart_s_test_that_cannot_run_is_called_in_time(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.cd["deploy"]["verify"] = {"helm_test": True}
    write_hook(web, UNSTARTABLE, on="test", kind="Pod")
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert "helm test failed: cannot be started" in failed.result["cause"]
    told = [event["event"] for event in web.events()]
    assert told.index("verdict") < told.index("serving"), "only the revision that it went back to serves"
    assert "web-hook" not in names(web, "pods")


def test_a_rollback_whose_hook_cannot_run_is_called_in_time_and_the_next_clears_up(any_helm: Deployment) -> None:
    web = any_helm
    write_hook(web, UNSTARTABLE, on="pre-rollback")
    good = web.commit(text="one")
    assert web.deploy().code == 0
    (web.folder / "chart" / "templates" / "hook.yaml").unlink()
    web.commit(text="two")
    assert web.deploy().code == 0
    failed = web.run("helm-rollback")
    assert failed.code == 8, failed.err
    assert "the rollback to revision 1 failed: pod web-hook" in failed.err
    assert "a hook failed: cannot be started" in failed.err
    assert seconds_of(web, "helm rollback") <= 5 + 6.0
    assert web.run("cd-hold", "--lift").code == 0
    mended = web.commit(text="three")
    done = web.deploy()
    assert done.code == 0, done.err
    assert "the hook Job web-hook of revision" in done.err and good != mended
    assert web.serving()["revision"] == mended and "web-hook" not in names(web, "jobs")


def test_a_hook_that_a_killed_run_has_left_is_ended_by_the_next(web: Deployment) -> None:
    assert web.deploy().code == 0
    write_hook(web, python(HANG, "hook"))
    web.commit()
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.get("job", "web-hook")["status"].get("active"))
    kill_hard(process)
    (web.folder / "chart" / "templates" / "hook.yaml").unlink()
    web.commit(text="after")
    done = web.deploy()
    assert done.code == 0, done.err
    assert "the hook Job web-hook of revision 2 still runs: ending it half-way" in done.err
    assert names(web, "jobs") == []
    assert web.serving()["text"] == "after"
