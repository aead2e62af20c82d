"""What the audit record is told of a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdlib.rollout.release import Release


def note(release: Release, audit: Path | None, event: str, **facts: Any) -> None:
    """Add to an audit record, where there is one, who has done what to which release. Raises what stands in the way."""
    from cdlib.report.audit import Audit

    run, place, trigger = release.run, release.environment, release.trigger
    if audit is None or run.dry_run:
        return
    about = {"command": run.command, "run": run.events.run_id, "who": release.holder,
             "change": f"{trigger.change},{trigger.patchset}" if trigger.change else "", "url": trigger.url,
             "service": release.records.service, "environment": place.name, "namespace": place.namespace,
             "release": place.release}  # fmt: skip
    Audit(audit, run.redactor).append(event, **{**about, **facts})
