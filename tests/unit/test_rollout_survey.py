"""What is live where: judged from what clusters list, in few requests, whatever one of them does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, entry, targets
from stand_ins import Fault

from cdlib.documents import schema_mistakes
from cdlib.errors import NotAllowed, Unavailable, UsageProblem
from cdlib.rollout import survey as module
from cdlib.rollout.board import Board, spots
from cdlib.rollout.record import Record
from cdlib.rollout.survey import Survey
from cdlib.run import Deadline, Run
from cdlib.target import read_targets

BAD = f"sha256:{2:064d}"
Look = Callable[..., Board]


@contextmanager
def serving(count: int) -> Iterator[list[Cluster]]:
    made = [Cluster() for _ in range(count)]
    yield made
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with serving(1) as made:
        yield made[0]


def look(file: Path, environment: str = "") -> Board:
    with Survey(Run("cd-status", Deadline(60)), spots(read_targets(file), environment)) as survey:
        board = survey.look(Deadline(60))
    result = {"schema": "cd-result/1", "command": "cd-status", "outcome": "done", "exit_code": 0, "duration_s": 0.0}
    assert schema_mistakes(json.loads(json.dumps({**result, **board.as_dict()})), "result") == []
    return board


def one(cluster: Cluster, folder: Path) -> dict[str, Any]:
    """The row of the only release, `web`."""
    file = targets(folder, {"production": cluster.url}, {"production": [("apps", "web")]})
    (row,) = look(file).as_dict()["releases"]
    return row  # type: ignore[no-any-return]


def test_a_verified_release_says_all_that_people_ask(cluster: Cluster, tmp_path: Path) -> None:
    now = entry(
        3,
        by="https://ci/job/7//host/12/abcd",
        change="41,2",
        url="https://ci/job/7/",
        permit="p-9",
        at="2026-03-04T05:06:07Z",
    )
    cluster.release("web", entry(1), entry(2, "failed"), now)
    row = one(cluster, tmp_path)
    assert (row["state"], row["attention"], row["verified"]) == ("verified", False, True)
    assert (row["revision"], row["commit"], row["digest"]) == (3, f"{3:040d}", f"sha256:{3:064d}")
    assert (row["since"], row["permit"], row["change"]) == ("2026-03-04T05:06:07Z", "p-9", "41,2")
    assert row["before"] == {"revision": 2, "commit": f"{2:040d}", "digest": BAD, "status": "failed"}
    assert (row["hold"], row["drift"], row["holder"], row["trouble"]) == (None, None, "", "")


@pytest.mark.parametrize(
    ("status", "helm", "age", "state", "attention"),
    [
        ("deploying", "pending-upgrade", 2, "in progress", False),
        ("deploying", "pending-upgrade", 60, "stuck", True),
        ("deploying", "pending-upgrade", None, "stuck", True),
        ("deploying", "deployed", 2, "in progress", False),
        ("deploying", "deployed", 60, "stuck", True),
        ("verified", "pending-rollback", 60, "stuck", True),
        ("verified", "deployed", 2, "verified", False),
        ("verified", "failed", None, "failed", True),
        ("failed", "deployed", None, "failed", True),
        ("interrupted", "deployed", None, "interrupted", True),
        ("unjudged", "deployed", None, "unjudged", False),
    ],
)
def test_states(
    cluster: Cluster, tmp_path: Path, status: str, helm: str, age: float | None, state: str, attention: bool
) -> None:
    cluster.release("web", entry(1), entry(2, status), helm=helm)
    if age is not None:
        cluster.lease("web", "ci/host/1/abc", age)
    row = one(cluster, tmp_path)
    assert (row["state"], row["attention"], row["revision"]) == (state, attention, 2)
    assert row["holder"] == ("ci/host/1/abc" if age == 2 else "")


def test_a_lease_that_was_given_back_holds_nothing(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1, "deploying"), helm="pending-install")
    cluster.lease("web", "", 1)
    assert one(cluster, tmp_path)["state"] == "stuck"


def test_a_run_that_begins_between_the_lists_is_not_stuck(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1, "deploying"), helm="pending-install")
    cluster.after["leases"] = lambda: cluster.lease("web", "ci", 1)
    assert one(cluster, tmp_path)["state"] == "in progress"


def test_a_run_that_ends_between_the_lists_is_not_stuck(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1, "deploying"), helm="pending-install")
    cluster.lease("web", "ci", 1)
    cluster.after["configmaps"] = cluster.lists["leases"].clear
    assert one(cluster, tmp_path)["state"] == "in progress"


def test_a_deploy_that_helm_has_done_between_the_lists_is_not_unrecorded(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1))

    def deploy() -> None:
        cluster.lists["configmaps"].clear()
        cluster.lists["secrets"].clear()
        cluster.release("web", entry(1), entry(2))

    cluster.after["secrets"] = deploy
    row = one(cluster, tmp_path)
    assert (row["state"], row["revision"]) == ("verified", 1)


def test_a_run_that_has_not_come_to_helm_yet_is_shown(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1), entry(2, "deploying"), helm="")
    cluster.helm("web", 1, "deployed")
    cluster.lease("web", "ci", 1)
    row = one(cluster, tmp_path)
    assert (row["state"], row["revision"], row["before"]["revision"]) == ("in progress", 2, 1)


def test_how_far_a_rollout_is(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", replace(entry(1, "deploying"), workloads=[["Deployment", "web"]]))
    cluster.lease("web", "ci", 1)
    status = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}
    cluster.lists["deployments"] = [
        {"metadata": {"name": "web", "namespace": "apps", "uid": "u"}, "spec": {"replicas": 2}, "status": status}
    ]
    assert "2 of 2 updated, 1 available" in one(cluster, tmp_path)["progress"]


@pytest.mark.parametrize("status", ["deployed", "pending-upgrade"])
def test_what_nobody_recorded_is_told(cluster: Cluster, tmp_path: Path, status: str) -> None:
    cluster.helm("web", 4, status)
    row = one(cluster, tmp_path)
    assert (row["state"], row["attention"], row["revision"], row["since"]) == (
        "unrecorded",
        True,
        4,
        "2026-02-03T04:05:06Z",
    )


@pytest.mark.parametrize("helm", ["", "uninstalled"])
def test_what_is_not_there_is_not_deployed(cluster: Cluster, tmp_path: Path, helm: str) -> None:
    cluster.release("web", entry(1), helm=helm)
    row = one(cluster, tmp_path)
    assert (row["state"], row["revision"], row["attention"], row["commit"]) == ("not deployed", 0, False, "")


def test_hold_and_quarantine(cluster: Cluster, tmp_path: Path) -> None:
    hold = {"since": "2026-01-01T00:00:00Z", "by": "ann", "reason": "freeze", "to": ""}
    cluster.release("web", entry(2), hold=hold, quarantine={BAD: {"reason": "crashed"}})
    row = one(cluster, tmp_path)
    assert (row["hold"], row["quarantined"], row["quarantine"], row["attention"]) == (hold, True, [BAD], True)


def test_archives_are_never_listed(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1))
    archive = json.loads(json.dumps(cluster.lists["configmaps"][0]))
    archive["metadata"]["labels"]["cdlib.org/archive"] = "true"
    cluster.lists["configmaps"].append({**archive, "data": {}})
    assert one(cluster, tmp_path)["state"] == "verified"


def test_200_releases_in_5_clusters_take_three_requests_a_cluster(tmp_path: Path) -> None:
    names = [f"environment-{number}" for number in range(5)]
    places = {name: [(f"ns-{number % 7}", f"service-{number}") for number in range(40)] for name in names}
    with serving(5) as made:
        for cluster, name in zip(made, names, strict=True):
            for namespace, release in places[name]:
                cluster.release(release, *(entry(n) for n in range(1, 31)), namespace=namespace)
        file = targets(tmp_path, {n: c.url for n, c in zip(names, made, strict=True)}, places)
        board = look(file)
        assert [len(cluster.seen) for cluster in made] == [3] * 5
    assert len(board.rows) == 200 and {row.state for row in board.rows} == {"verified"}
    assert board.problem() is None


def test_where_only_namespaces_may_be_listed_each_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    cluster.namespaced = True
    for namespace in ("a", "b"):
        cluster.release("web" + namespace, entry(1), namespace=namespace)
    file = targets(tmp_path, {"test": cluster.url}, {"test": [("a", "weba"), ("b", "webb")]})
    with Survey(Run("cd-status", Deadline(60)), spots(read_targets(file), "")) as survey:
        assert [row.state for row in survey.look(Deadline(60)).rows] == ["verified"] * 2
        assert len(cluster.seen) == 1 + 6
        survey.look(Deadline(60))
        assert len(cluster.seen) == 1 + 6 + 6  # the whole is not asked for again


def test_one_namespace_is_asked_alone(cluster: Cluster, tmp_path: Path) -> None:
    cluster.namespaced = True
    cluster.release("web", entry(1))
    assert one(cluster, tmp_path)["state"] == "verified"
    assert len(cluster.seen) == 3 and all("/namespaces/apps/" in seen.path for seen in cluster.seen)


def test_secrets_are_asked_for_without_what_they_hold(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1))
    one(cluster, tmp_path)
    (asked,) = cluster.requests("GET", "/secrets")
    assert "PartialObjectMetadataList" in asked.headers["Accept"]


def test_credentials_that_may_not_list_secrets_go_by_the_record(cluster: Cluster, tmp_path: Path) -> None:
    cluster.refused = "secrets"
    cluster.release("web", entry(1), entry(2))
    row = one(cluster, tmp_path)
    assert (row["state"], row["revision"], row["helm_status"]) == ("verified", 2, "")


def test_where_leases_may_not_be_seen_nobody_is_called_stuck(cluster: Cluster, tmp_path: Path) -> None:
    cluster.refused = "leases"
    cluster.release("web", entry(1, "deploying"))
    assert one(cluster, tmp_path)["state"] == "deploying"


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        '{"schema": "cd-release/9"}',
        '{"schema": "cd-release/1", "revisions": [], "service": "x", "release": "x", "live": "y", "quarantine": 7}',
        json.dumps({"schema": "cd-release/1", **asdict(Record("x", "x", [entry(1, workloads=[7])], 1))}),
    ],
)
def test_a_record_that_is_none_hides_no_other(cluster: Cluster, tmp_path: Path, record: str) -> None:
    cluster.release("bad", entry(1))
    cluster.lists["configmaps"][0]["data"]["record.json"] = record
    cluster.lists["secrets"].clear()
    cluster.refused = "secrets"
    cluster.release("web", entry(1))
    file = targets(tmp_path, {"test": cluster.url}, {"test": [("apps", "bad"), ("apps", "web")]})
    bad, good = look(file).as_dict()["releases"]
    assert (bad["state"], bad["attention"], good["state"]) == ("unknown", True, "verified")
    assert bad["trouble"]


def dead_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_cluster_that_does_not_answer_is_shown_as_such_with_all_others(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    cluster.release("web", entry(1))
    places = {"east": [("apps", "web")], "west": [("apps", "web"), ("apps", "other")]}
    board = look(targets(tmp_path, {"east": cluster.url, "west": dead_url()}, places))
    states = [(row.spot.environment.name, row.spot.service, row.state) for row in board.rows]
    assert states == [("east", "web", "verified"), ("west", "other", "unknown"), ("west", "web", "unknown")]
    problem = board.problem()
    assert isinstance(problem, Unavailable) and "1 of 2 clusters" in problem.message
    assert len(problem.details) == 1 and problem.details[0].startswith("west: ")


def test_a_silent_cluster_is_waited_for_as_long_as_its_patience(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    cluster.release("web", entry(1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        urls = {"east": cluster.url, "west": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        board = look(targets(tmp_path, urls, {name: [("apps", "web")] for name in urls}))
    assert [row.state for row in board.rows] == ["verified", "unknown"]
    assert isinstance(board.problem(), Unavailable)


def test_a_cluster_that_refuses_is_77(cluster: Cluster, tmp_path: Path) -> None:
    cluster.refused = "configmaps"
    board = look(targets(tmp_path, {"test": cluster.url}, {"test": [("apps", "web")]}))
    assert isinstance(board.problem(), NotAllowed)


def test_one_that_cannot_be_reached_counts_more_than_one_that_refuses(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    cluster.refused = "configmaps"
    urls = {"a": cluster.url, "b": dead_url()}
    problem = look(targets(tmp_path, urls, {name: [("apps", "web")] for name in urls})).problem()
    assert isinstance(problem, Unavailable) and len(problem.details) == 2


def test_a_kubeconfig_that_is_missing_is_that_clusters_trouble_alone(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1))
    file = targets(tmp_path, {"a": cluster.url, "b": cluster.url}, {"a": [("apps", "web")], "b": [("apps", "web")]})
    (tmp_path / "b" / "kubeconfig").unlink()
    board = look(file)
    assert [row.state for row in board.rows] == ["verified", "unknown"] and isinstance(board.problem(), UsageProblem)


def test_trouble_that_passes_is_not_seen(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1))
    cluster.faults.append(Fault("GET", "configmaps", 503, times=1))
    assert one(cluster, tmp_path)["state"] == "verified"


def test_an_environment_that_nobody_goes_to_is_told(cluster: Cluster, tmp_path: Path) -> None:
    file = targets(tmp_path, {"test": cluster.url}, {"test": [("apps", "web")]})
    with pytest.raises(UsageProblem, match="moon"):
        spots(read_targets(file), "moon")
