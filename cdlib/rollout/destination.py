"""Where a person goes back to: one choice, for who permits it and for who does it."""

from __future__ import annotations

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.rollout.images import Images
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.release import require_known


def destination(record: Record, to: int | None, present: set[int], images: Images, deadline: Deadline) -> Revision:
    """Revision `to`, or that of a rollback that is under way or done, or the last other one that was verified healthy.

    `present` are the revisions that can be gone back to. Raises UsageProblem where there is none such.
    """
    if to is None and record.hold and record.hold.get("to"):
        to = int(record.hold["to"])  # a rerun goes to the same place
    if to is not None:
        return require_known(record, to, present)
    found = images.newest(record.rollback_targets(present), deadline)
    if found is None:
        raise UsageProblem(
            "there is no other revision that was verified healthy, and whose image is there",
            hint="see helm-rollback --list, and choose by --to N",
        )
    return found
