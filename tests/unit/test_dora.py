"""The four DORA figures: what counts as a deployment, a failure and a recovery, and that nothing known is no 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clusters import Cluster, entry, targets

from cdlib.documents import schema_mistakes
from cdlib.report.doratext import as_text
from cdlib.rollout.dora import Figures, deployments, figures
from cdlib.rollout.record import Revision
from cdlib.rollout.records import ARCHIVE, Records
from cdlib.table import width
from cdlib.units import timestamp
from jobs.cd_report import main

NOW = datetime(2026, 3, 31, tzinfo=UTC)
HOUR, DAY = 3600.0, 86400.0


def at(days: float, minutes: float = 0.0) -> str:
    return timestamp(NOW - timedelta(days=days) + timedelta(minutes=minutes))


def good(number: int, days: float, *, lead: float = 10.0, took: float = 1.0, **more: Any) -> Revision:
    """A deploy so many days ago, verified after `took` minutes, of a commit that was made `lead` minutes before."""
    return entry(number, run=f"run{number}", at=at(days), verified_at=at(days, took), committed=at(days, -lead), **more)


def bad(number: int, days: float, status: str = "failed") -> Revision:
    return entry(number, status, run=f"run{number}", at=at(days), committed=at(days, -10))


def back(number: int, to: Revision, days: float, status: str = "verified") -> Revision:
    """A rollback, which has all of what it went back to, and is verified two minutes after it was begun."""
    return entry(number, status, digest=to.digest, commit=to.commit, run=f"run{number}", at=at(days),
                 verified_at=at(days, 2) if status == "verified" else "", rollback_of=to.revision,
                 committed=to.committed)  # fmt: skip


def of(*history: Revision, days: float = 30) -> Figures:
    return figures(history, NOW, days)


def test_good_deploys_alone_say_nothing_of_recovery() -> None:
    found = of(good(1, 20, lead=10), good(2, 10, lead=30), good(3, 5, lead=60))
    assert (found.days, found.deployments, found.failures) == (20, 3, 0)
    assert found.per_day == pytest.approx(3 / 20) and found.lead_time == 31 * 60, "the commit's age, and its minute"
    assert found.failure_rate == 0 and found.time_to_restore is None


def test_without_a_history_there_is_no_figure() -> None:
    found = of()
    assert (found.per_day, found.lead_time, found.failure_rate, found.time_to_restore) == (None,) * 4
    old = of(good(1, 200), days=30)
    assert (old.per_day, old.lead_time, old.failure_rate) == (0, None, None), "known: nobody has deployed"


def test_a_failed_rollout_is_restored_by_its_rollback() -> None:
    first = good(1, 10)
    failed = bad(2, 5)
    again = back(3, first, 5 - 1 / 24)
    found = of(first, failed, again)
    assert (found.deployments, found.failures, found.unrestored, found.failure_rate) == (2, 1, 0, 0.5)
    assert found.time_to_restore == HOUR + 120 and found.per_day == pytest.approx(1 / 10)


def test_what_a_person_takes_back_was_a_failure_since_it_served() -> None:
    first, second = good(1, 10), good(2, 5)
    found = of(first, second, back(3, first, 4))
    assert (found.deployments, found.failures) == (2, 1) and found.time_to_restore == DAY + 60
    (_, taken) = deployments([first, second, back(3, first, 4)])
    assert taken.end == taken.failed, "from when it was live"


def test_the_way_back_counts_for_the_failure_that_it_follows() -> None:
    """After a failed rollout has gone back by itself, what was good stays good; a second step back is another one."""
    first, second, failed = good(1, 10), good(2, 8), bad(3, 5)
    story = [first, second, failed, back(4, second, 5)]
    assert of(*story).failures == 1
    assert of(*story, back(5, first, 4)).failures == 2
    assert of(*story, back(5, first, 4), back(6, first, 3), back(7, second, 2)).failures == 2


def test_what_is_set_right_is_no_deployment_and_no_failure() -> None:
    first = good(1, 10)
    same = good(2, 9, commit=first.commit, digest=first.digest, image=first.image)
    assert of(first, same).deployments == 1
    again = back(3, first, 8)
    assert of(first, again).failures == 0, "a rollback to what is live, after a change by hand"


@pytest.mark.parametrize("status", ["interrupted", "deploying", "unjudged"])
def test_what_was_never_judged_does_not_count(status: str) -> None:
    assert of(good(1, 10), bad(2, 5, status)).deployments == 1


def test_a_failure_that_is_not_over_yet_is_counted_apart() -> None:
    first = good(1, 10)
    found = of(first, bad(2, 5), back(3, first, 5, "failed"))
    assert (found.failures, found.unrestored, found.time_to_restore) == (1, 1, None)
    mended = of(first, bad(2, 5), back(3, first, 5, "failed"), bad(4, 4), good(5, 3))
    assert (mended.failures, mended.unrestored) == (2, 0) and mended.time_to_restore == 1.5 * DAY + 60


def test_a_first_day_is_no_rate_of_thousands() -> None:
    found = of(good(1, 1 / 24))
    assert found.per_day == 1 and found.days == pytest.approx(1 / 24)


def test_old_entries_have_less_to_say_and_count() -> None:
    old = entry(1, run="a", at=at(10))
    found = of(
        old,
        entry(2, "failed", run="b", at=at(9)),
        entry(3, run="c", at="yesterday"),
        entry(4, run="d", at="2026-03-30"),
    )
    assert (found.deployments, found.failures, found.lead_time) == (2, 1, None)


def test_each_entry_counts_once_and_in_the_order_of_time() -> None:
    """A record that began again has numbers that began again; an archive may have what the record has, too."""
    former, now = good(9, 20), good(1, 10)
    assert of(now, former, former, now).deployments == 2


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def archived(cluster: Cluster, name: str, many: int) -> list[Revision]:
    """A release with so many deploys, of which the oldest are in archives, as the library itself has moved them."""
    kept: dict[str, Any] = {}

    class Keeps:
        def get(self, *_: Any) -> Any:
            return kept.get(f"cd-{name}")

        def create(self, _where: str, body: dict[str, Any], _deadline: Any) -> dict[str, Any]:
            body["metadata"]["resourceVersion"] = "1"
            kept[body["metadata"]["name"]] = body
            return body

        def replace(self, _where: str, body: dict[str, Any], deadline: Any) -> dict[str, Any]:
            return self.create("", body, deadline)

    now = datetime.now(UTC)
    every = [entry(n, run=f"run{n}aaaaaaaa", at=timestamp(now - timedelta(hours=many - n + 1)),
                   committed=timestamp(now - timedelta(hours=many - n + 1, minutes=1))) for n in range(1, many + 1)]  # fmt: skip
    records = Records(Keeps(), "apps", name, name)  # type: ignore[arg-type]
    for each in every:
        records.update(lambda record, each=each: record.put(each), None)  # type: ignore[misc, arg-type]
    cluster.lists["configmaps"] += kept.values()
    assert sum(ARCHIVE in o["metadata"]["labels"] for o in kept.values()) > 0
    return every


def report(file: Path, *args: str) -> Any:
    return CliRunner().invoke(main, ["-C", str(file.parent), "--targets", str(file), "--dora", *args])


def test_archives_count_as_the_record_does(cluster: Cluster, tmp_path: Path) -> None:
    archived(cluster, "web", 85)
    cluster.release("other", entry(1, at=timestamp()))
    file = targets(tmp_path, {"production": cluster.url}, {"production": [("apps", "web"), ("apps", "none")]})
    done = report(file, "--json")
    result = json.loads(done.stdout)
    assert done.exit_code == 0 and schema_mistakes(result, "result") == []
    none, web = result["dora"]["releases"]
    assert (web["release"], web["deployments"], web["failures"], web["lead_time_s"]) == ("web", 85, 0, 60)
    assert (none["deployments"], none["deployments_per_day"], none["trouble"]) == (0, None, "")
    assert len(cluster.requests("GET")) == 1, "one list a namespace"
    text = report(file).stdout
    assert "24.0 a day" in text and "1 min 0 s" in text and "0 % (0 of 85)" in text
    assert next(line for line in text.splitlines() if "apps/none" in line).count("no data") == 4
    assert report(file, "--days", "1", "--json").stdout.count('"deployments": 2') == 1


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(cluster: Cluster, tmp_path: Path) -> None:
    cluster.release("web", entry(1, at=timestamp()))
    cluster.release("broken", entry(1))
    cluster.lists["configmaps"][-1]["data"]["record.json"] = '{"schema": "cd-release/1", "revisions": [7]}'
    places = {"production": [("apps", "web"), ("apps", "broken")], "staging": [("apps", "web")]}
    file = targets(tmp_path, {"production": cluster.url, "staging": "http://127.0.0.1:1"}, places)
    done = report(file, "-e", "production")
    assert done.exit_code == 2 and "cannot be read" in done.stdout and "1 with a history" in done.stdout
    assert report(file, "--service", "web", "-e", "production").exit_code == 0


@pytest.mark.parametrize("limit", [40, 80, 120, 200])
def test_it_fits_every_terminal(cluster: Cluster, tmp_path: Path, limit: int) -> None:
    row = {"service": "web", "environment": "production", "namespace": "凍結中", "release": "web", "trouble": "",
           **of(good(1, 10), bad(2, 5)).as_dict()}  # fmt: skip
    text = as_text({"at": timestamp(NOW), "days": 30, "releases": [row]}, limit)
    assert max(map(width, text.splitlines())) <= limit and "50 % (1 of 2)" in text and "11 min 0 s" in text
    assert "not restored yet" in " ".join(text.split()) or "…" in text
