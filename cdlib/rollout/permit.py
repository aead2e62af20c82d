"""The guard that a deploy passes before its first write."""

from __future__ import annotations

from cdlib.errors import Refused
from cdlib.rollout.planning import Guard, Plan
from cdlib.rollout.record import Record
from cdlib.target import Environment


def require_permit(environment: Environment) -> Guard:
    """A guard for the environment's policy: `none` lets everything pass, any other fails closed."""

    def guard(plan: Plan, _record: Record) -> None:
        if environment.policy != "none":
            raise Refused(
                f"{environment.name} has policy {environment.policy!r}: no permit for {plan.wish.image.digest[:19]}",
                hint="let the authorize job issue a permit for this commit and digest",
            )

    return guard
