"""What the commands that work on a release share: opening it, and how it is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.command import Result
from jobs.completing import services

if TYPE_CHECKING:
    from cdlib.rollout.record import Record
    from cdlib.rollout.release import Outcome, Release
    from cdlib.rollout.rollback import Row
    from cdlib.run import Run
    from cdlib.target import Environment

_LONGEST_NOTE = 80  # columns

wait_option = click.option(
    "--wait-lease", "wait", is_flag=True, envvar="CD_WAIT_LEASE",
    help="Wait, to the end of --timeout, while another run holds the release.  [default: exit 9]",
)  # fmt: skip
service_option = click.option(
    "--service",
    default="",
    metavar="NAME",
    envvar="CD_SERVICE",
    help="Which service; that of DIR/cd.yaml by default.",
    shell_complete=services,
)


@contextmanager
def opened(run: Run, folder: Path, targets: Path | None, service: str, environment: str) -> Iterator[Release]:
    """The release of a service that is named, or described by the cd.yaml in `folder`."""
    from cdlib.documents import prepare
    from cdlib.image.published import image_lookup
    from cdlib.rollout.release import Release
    from cdlib.service import read_service
    from cdlib.source import open_source
    from cdlib.target import read_target
    from cdlib.trigger import read_trigger

    name = service or read_service(open_source(folder, meanwhile=prepare)).name
    target = read_target(targets, name)
    place, has_image = target.environment(environment), image_lookup(run, target)
    with at(run, place, name), closing(Release.open(run, name, place, read_trigger(), has_image)) as release:
        yield release


@contextmanager
def at(run: Run, place: Environment, service: str) -> Iterator[None]:
    """Results of what fails in the block say where it did: whoever reads them has not seen the command line."""
    from cdlib.errors import CdError

    run.about.update(service=service, environment=place.name)
    try:
        yield
    except CdError as problem:
        problem.made = {**_where(place), **problem.made}
        raise


def _where(place: Environment) -> Result:
    return {"environment": place.name, "namespace": place.namespace, "release": place.release}


def shown(release: Release, outcome: Outcome) -> Result:
    """The result of a deploy or a rollback."""
    entry, place = outcome.entry, release.environment
    return {
        "outcome": outcome.outcome,
        **_where(place),
        "revision": entry.revision,
        "commit": entry.commit,
        "previous": entry.previous,
        "image": entry.image,
        "digest": entry.digest,
        "pods": list(outcome.pods),
        **({"drift": list(outcome.drift)} if outcome.drift else {}),
        "text": f"{place.namespace}/{place.release} revision {entry.revision} {entry.digest} {outcome.outcome}",
    }


def table(rows: list[Row], record: Record, limit: int | None = None) -> str:
    """The history for a terminal of `limit` columns, newest first; None for as many as it takes."""
    from cdlib.table import fitted, folded
    from cdlib.table import table as lines

    heads, cells = ("REVISION", "WHEN", "COMMIT", "DIGEST", "STATE", "NOTE"), [_cells(row) for row in rows]
    found = lines(heads, cells) if limit is None else fitted(heads, cells, limit, {"NOTE": 14})
    if found is None:
        found = [line for cell in cells for line in _block(heads, cell, limit or 0)]
    if record.hold:
        held = f"on hold since {record.hold.get('since')}: {record.hold.get('reason')} (lift it by: cd-hold --lift)"
        found += ["", *([held] if limit is None else folded(held, limit, "  "))]
    return "\n".join(found)


def _block(heads: tuple[str, ...], cells: tuple[str, ...], limit: int) -> list[str]:
    """A revision as a few lines, where a table would be too wide."""
    from cdlib.table import folded

    told = [f"{head.lower()} {cell}" for head, cell in zip(heads, cells, strict=True) if cell]
    return [*folded(told[0], limit), *(f"  {part}" for line in told[1:] for part in folded(line, limit - 2, "  "))]


def _cells(row: Row) -> tuple[str, ...]:
    from cdlib.table import fit

    entry = row.entry
    marks = [
        word
        for word, holds in (("live", row.live), ("quarantined", row.quarantined), ("gone", not row.available))
        if holds
    ]
    state = entry.status + (f" ({', '.join(marks)})" if marks else "")
    note = f"rollback to {entry.rollback_of}: {entry.reason}" if entry.rollback_of else entry.reason
    return (str(entry.revision), entry.at[:19].replace("T", " "), entry.commit[:12], entry.digest[7:19], state,
            fit(note, _LONGEST_NOTE))  # fmt: skip


def listed(rows: list[Row], record: Record, **more: Any) -> Result:
    """The result of a listing."""
    from cdlib.console import columns

    text = table(rows, record, columns(sys.stdout))
    return {"revisions": [row.as_dict() for row in rows], "hold": record.hold, "text": text, **more}
