"""What a deploy is going to do, and whether it may: decided before the first write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cdlib.deadline import Deadline
from cdlib.errors import Refused, UsageProblem
from cdlib.reference import Reference
from cdlib.rollout.api import Object
from cdlib.rollout.chart import Chart, Rendered, check_rendered, write_own_values
from cdlib.rollout.permit import Use
from cdlib.rollout.record import Record
from cdlib.rollout.release import Release, time_to_roll_out
from cdlib.rollout.soak import longest_soak
from cdlib.rollout.verdict import Fault
from cdlib.rollout.verify import Request, plan_requests
from cdlib.service import Service, Verify
from cdlib.source import Source
from cdlib.target import Target
from cdlib.units import timestamp


@dataclass(frozen=True)
class Wish:
    """What shall be live: the image, by digest, at the commit of `source`."""

    source: Source
    service: Service
    target: Target
    image: Reference
    unrelated: bool = False  # also where git does not know the commit that is live


@dataclass(frozen=True)
class Plan:
    """All that was decided before the first write, for the guard to judge; `permit` is what it has found."""

    wish: Wish
    verify: Verify
    chart: Chart
    values: tuple[Path, ...]
    rendered: Rendered
    requests: tuple[Request, ...]
    permit: Use | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What the record says of the revision."""
        image, source = self.wish.image, self.wish.source
        return {"commit": source.commit, "committed": timestamp(source.committed_at), "image": str(image),
                "digest": image.digest, "chart": self.chart.digest, "values": self.chart.values_digest,
                "permit": self.permit.label if self.permit else ""}  # fmt: skip


# The permit that allows it, looked for by the deadline; None where none is asked for.
Guard = Callable[[Plan, Record, Deadline], Use | None]


def plan_deploy(release: Release, wish: Wish, chart: Chart, scratch: Path, *, upgrade: bool, budget: Deadline,
                permit: Use | None = None) -> Plan:  # fmt: skip
    """All of it, decided before the first write. Raises UsageProblem where it cannot be done."""
    environment, trigger = release.environment, release.trigger
    about = {"revision": wish.source.commit, "change": trigger.change, "permit": permit.label if permit else ""}
    own = write_own_values(chart, wish.service.deploy, wish.image, about, scratch)
    values = (*chart.values, own)
    version = release.api.version(budget)
    objects = release.helm.render(chart.folder, values, budget, upgrade=upgrade, kube_version=version)
    rendered = check_rendered(objects, wish.image, environment)
    verify = wish.service.deploy.verify.on_top_of(environment.verify)
    requests = plan_requests(verify, rendered.services, environment)
    if verify.soak is not None and verify.soak > longest_soak(time_to_roll_out(environment)):
        raise UsageProblem(
            f"a soak of {verify.soak:g} s leaves no time to roll out in a budget of {environment.budget:g} s",
            hint="shorten soak in cd.yaml, or raise the environment's budget in targets.yaml",
        )
    return Plan(wish, verify, chart, values, rendered, tuple(requests), permit)


def with_permit(release: Release, plan: Plan, permit: Use, *, upgrade: bool, budget: Deadline) -> Plan:
    """The plan by its permit, of which the chart is told as well: so what it makes then is checked, too."""
    own = plan.values[-1]
    with release.run.stage("render", permit.label):
        return plan_deploy(release, plan.wish, plan.chart, own.parent, upgrade=upgrade, budget=budget, permit=permit)


def as_applied(release: Release, plan: Plan, objects: list[Object]) -> tuple[Fault | None, Plan]:
    """The plan by what Helm has applied, which is held to the same rules as what was rendered before."""
    try:
        rendered = check_rendered(objects, plan.wish.image, release.environment) if objects else plan.rendered
        requests = plan_requests(plan.verify, rendered.services, release.environment)
    except UsageProblem as problem:
        return Fault("", "", "Chart", f"{problem.message}, once it is in the cluster"), plan
    return None, replace(plan, rendered=rendered, requests=tuple(requests))


def check_allowed(record: Record, wish: Wish) -> None:
    """Raise Refused for a hold, or a quarantined digest."""
    if record.hold:
        raise Refused(
            f"deploys are on hold since {record.hold.get('since')}: {record.hold.get('reason')}",
            hint="lift it by: cd-hold --lift",
        )
    kept = record.quarantine.get(wish.image.digest)
    if kept:
        raise Refused(
            f"{wish.image.digest[:19]} is quarantined since {kept.get('since')}: {kept.get('reason')}",
            hint=f"deploy a mended commit, release it by: cd-hold --release {wish.image.digest}, or choose another "
            "revision by: helm-rollback --list",
        )


def check_order(record: Record, wish: Wish) -> None:
    """Raise Refused for a commit older than what is live, or where git cannot tell."""
    live = record.live_revision
    if live is None or live.commit in ("", wish.source.commit):  # what others have made has no commit
        return
    before = wish.source.is_before(live.commit)
    if before is None and not wish.unrelated:
        raise Refused(
            f"git does not know {live.commit[:12]}, which is live, and so cannot tell what is newer",
            hint="git fetch --unshallow or git fetch, and run this again; or insist by --unrelated",
        )
    if before:
        raise Refused(
            f"{wish.source.short} is older than {live.commit[:12]}, which is live as revision {live.revision}",
            hint="go back on purpose by: helm-rollback --list, then helm-rollback --to N",
        )
