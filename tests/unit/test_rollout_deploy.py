"""What a deploy decides without a cluster: its share of the budget, and what a Helm that failed means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import entry

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, OutOfTime, Unavailable, UsageProblem
from cdlib.rollout import deploy
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.planning import Plan
from cdlib.rollout.release import Release
from cdlib.rollout.undoing import OUTAGE
from cdlib.trigger import Trigger
from cdlib.units import timestamp


def budget(seconds: float, used: float) -> Deadline:
    """A budget of which some has passed."""
    found = Deadline(seconds)
    found._end -= used
    return found


def test_a_rollback_keeps_its_share_of_the_whole_budget() -> None:
    assert deploy.deploys_share(budget(100, 0)).seconds == pytest.approx(60, abs=1)
    assert deploy.deploys_share(budget(100, 50)).seconds == pytest.approx(10, abs=1)


def test_where_only_that_is_left_nothing_is_begun() -> None:
    with pytest.raises(OutOfTime, match="40% of the 100 s"):
        deploy.deploys_share(budget(100, 60))


def failed(why: str, *history: int | Exception, away: Unavailable | None = None) -> Any:
    """What becomes of a Helm that failed on revision 2, with these revisions there afterwards."""

    def look(_deadline: Deadline) -> list[HelmRevision]:
        if history and isinstance(history[0], Exception):
            raise history[0]
        return [HelmRevision(int(str(number)), "failed") for number in history]

    release, lease = SimpleNamespace(history=look), SimpleNamespace(require=lambda: False)
    return deploy._helm_failed(release, entry(2), why, Deadline(0.1), lease, away)  # type: ignore[arg-type]


AWAY = Unavailable("Helm was stopped, since the cluster could not be reached")


@pytest.mark.parametrize(
    ("why", "away", "kind"),
    [
        (AWAY.message, AWAY, Unavailable),
        ('secrets is forbidden: User "x" cannot create resource', None, NotAllowed),
        ("execution error at (web/templates/all.yaml)", None, UsageProblem),
    ],
)
def test_what_changed_nothing_is_told_by_its_cause(why: str, away: Unavailable | None, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        failed(why, 1, away=away)


def test_what_has_begun_is_a_fault_and_an_outage_is_nobodys() -> None:
    assert failed("a hook failed", 1, 2).reason == "Helm"
    assert failed(AWAY.message, 1, 2, away=AWAY).reason == OUTAGE
    assert failed(AWAY.message, Unavailable("away"), away=AWAY).reason == OUTAGE


def test_a_revision_says_when_it_was_committed_and_when_it_was_seen_healthy() -> None:
    source = SimpleNamespace(commit="c", committed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    wish = SimpleNamespace(source=source, image=SimpleNamespace(digest="sha256:1"))
    chart = SimpleNamespace(digest="chart", values_digest="values")
    plan = Plan(wish, None, chart, (), None, ())  # type: ignore[arg-type]
    assert plan.facts["committed"] == "2026-01-02T03:04:05.000Z"
    release = SimpleNamespace(settle=lambda entry, _deadline, **changes: replace(entry, **changes), now=timestamp)
    made = Release.verified(release, entry(2, "deploying"), Deadline(1))  # type: ignore[arg-type]
    assert made.verified and datetime.fromisoformat(made.verified_at) <= datetime.now(UTC)


def holder(run_id: str, **trigger: str) -> str:
    run = SimpleNamespace(events=SimpleNamespace(run_id=run_id))
    made = SimpleNamespace(trigger=Trigger("jenkins", **trigger), run=run)
    return str(Release.holder.fget(made))  # type: ignore[attr-defined]


def test_two_runs_of_one_long_name_do_not_take_each_other_for_themselves() -> None:
    url = f"https://jenkins.test/job/{'x' * 300}/7/"
    one, two = holder("a" * 32, url=url), holder("b" * 32, url=url)
    assert one != two and one.startswith("https://jenkins.test/job/x") and max(map(len, (one, two))) <= 250
    assert holder("a" * 32, url="https://jenkins.test/7/").startswith("https://jenkins.test/7//")
