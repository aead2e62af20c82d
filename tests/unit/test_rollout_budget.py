"""One budget: what has to be fetched for a rollout takes what is left of it, whatever the run itself has."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from clusters import entry
from permitted import Place, Template, place, refused, signers, template
from stand_ins import silent

from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, Unavailable
from cdlib.rollout.chart import prepare_chart
from cdlib.rollout.comparing import as_permitted
from cdlib.rollout.permit import Use
from cdlib.rollout.verdict import State
from cdlib.service import Deploy, ForeignChart
from cdlib.source import open_source
from cdlib.target import read_target

__all__ = ["place", "signers", "template"]

SOON = 6.0  # seconds; the run has a minute, and a server that is silent is waited for 30 s, several times


@pytest.fixture
def unanswered(template: Template, place: Place) -> Iterator[Place]:
    """A permitted commit whose registry, and whose chart's repository, never answer."""
    template.ready.restore(place)
    with silent() as host:
        document = json.loads((place.base / "targets.yaml").read_text())
        document["services"]["web"] |= {"image": f"{host}/t/web", "allow": {"charts": [f"https://{host}/charts"]}}
        (place.base / "targets.yaml").write_text(json.dumps(document))
        yield place


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


def test_a_chart_is_fetched_within_it(unanswered: Place) -> None:
    target = read_target(unanswered.base / "targets.yaml", "web")
    source, deploy = (
        open_source(unanswered.base / "web"),
        Deploy(chart=ForeignChart(target.allowed.charts[0], "c" * 40, "web")),
    )
    with (
        pytest.raises(OutOfTime),
        prepare_chart(unanswered.permits().release.helm, source, deploy, target, target.environment("production"), Deadline(1)),
    ):  # fmt: skip
        raise AssertionError("there is no chart")


def test_permits_are_looked_for_within_it(unanswered: Place) -> None:
    with pytest.raises((OutOfTime, Unavailable)):
        unanswered.guard(deadline=Deadline(1))
    with pytest.raises((OutOfTime, Unavailable)):
        unanswered.permits().guard_rollback(entry(1), unanswered.record(), Deadline(1))


def test_a_cluster_is_asked_for_its_name_within_it(template: Template, place: Place) -> None:
    template.ready.restore(place)
    limits: list[float] = []
    permits: Any = place.permits()
    answer = permits.release.api.get

    def get(where: str, deadline: Deadline) -> Any:
        limits.append(deadline.left)
        return answer(where, deadline)

    permits.release.api.get = get
    refused(lambda: permits.guard_rollback(entry(1), place.record(), Deadline(5)), "no permit")
    assert limits and max(limits) <= 5


def test_what_runs_is_compared_within_the_deploys_share_so_that_the_rollback_keeps_its_own(unanswered: Place) -> None:
    permits = unanswered.permits()
    image = permits.target.image.at(unanswered.digest)
    use = Use(1, "n", "permit", "me", aliases=permits._aliases)
    pod = {
        "metadata": {"name": "web-1", "uid": "u"},
        "spec": {"containers": [{"name": "web", "image": str(image)}]},
        "status": {"containerStatuses": [{"name": "web", "imageID": f"r/web@sha256:{'e' * 64}", "state": {}}]},
    }
    share = Deadline(1, "the deploy's share of the budget")
    with pytest.raises((OutOfTime, Unavailable)):
        as_permitted(permits.release, use, image, State(True, "", pods=(pod,)), share)
