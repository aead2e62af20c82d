"""Permits, as a rollout goes by them: somebody else has judged one; here it is spent, once, and kept to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Refused, UsageProblem
from cdlib.reference import DIGEST, Reference
from cdlib.rollout.api import Api, Object
from cdlib.rollout.record import DEPLOYING, INTERRUPTED, Record
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, Fault

BREAK_GLASS = "break-glass"
Aliases = Callable[[Reference, Deadline], frozenset[str]]


@dataclass(frozen=True)
class Use:
    """A permit that holds for what is about to be done.

    `kind` is permit or break-glass, `by` its issuer. With `again` a run that was killed has spent it, and is gone on
    with. `aliases` looks up by which other digests a node may know an image.
    """

    sequence: int
    nonce: str
    kind: str
    by: str
    reason: str = ""
    again: bool = False
    aliases: Aliases = field(default=lambda *_: frozenset(), compare=False, repr=False)

    @property
    def label(self) -> str:
        """Its short name, for records and people."""
        return label(self.sequence, self.nonce)

    @property
    def loud(self) -> bool:
        """Whether it was not the authorizer who issued it."""
        return self.kind == BREAK_GLASS

    @property
    def note(self) -> str:
        """What the record gives as the reason; empty for an ordinary permit."""
        return f"{BREAK_GLASS} by {self.by}: {self.reason}" if self.loud else ""

    def told(self) -> dict[str, str]:
        """For events and results."""
        return {"kind": self.kind, "permit": self.label, "by": self.by, "reason": self.reason}


def label(sequence: int, nonce: str) -> str:
    """The short name of a permit: its number and the begin of its nonce."""
    return f"{sequence}-{nonce[:8]}"


def name_of_cluster(api: Api, namespace: str, deadline: Deadline) -> str:
    """A name that no other cluster bears, nor a namespace that is made again: the uid of the release's namespace.

    A role in that namespace can allow to read it, so nothing of the cluster's own has to be shown.
    """
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}", deadline)
    except NotAllowed as problem:
        raise NotAllowed(
            f"the credentials may not read the namespace {namespace!r}, by which permits are told apart",
            hint=f"allow it by a Role in {namespace}: apiGroups '', resources namespaces, verbs get",
        ) from problem
    if found is None:
        raise UsageProblem(f"{api.server} has no namespace {namespace!r}", hint=f"kubectl create namespace {namespace}")
    return f"{namespace}/{found['metadata']['uid']}"


def unfinished(record: Record) -> bool:
    """Whether the run that spent the last permit has not come to an end, so that it may be gone on with.

    Where nothing bears its name, that run was killed before it began, or Helm has refused before it wrote.
    """
    spent = label(record.permit_sequence, record.permit_nonce)
    mine = [entry.status for entry in record.revisions if entry.permit == spent]
    return not mine or mine[-1] in (DEPLOYING, INTERRUPTED)


def spend(release: Release, use: Use, seen: Record, deadline: Deadline) -> None:
    """Write into the release record that the permit is used, so that it is never again; tell of it.

    `seen` is the record by which it was judged. Raises Refused where another was spent since, or this one by another
    run; where the answer to our own write was lost, reading again shows that we have spent it.
    """
    before, mine, tries = (seen.permit_sequence, seen.permit_nonce), (use.sequence, use.nonce), 0

    def change(record: Record) -> None:
        nonlocal tries
        tries += 1
        found = (record.permit_sequence, record.permit_nonce)
        ours = found == mine and tries > 1 and not any(entry.permit == use.label for entry in record.revisions)
        if found != before and not ours:
            raise Refused(
                f"permit {use.label} was overtaken: the release has spent number {record.permit_sequence} meanwhile",
                hint="run the authorize job again: it issues a new permit",
            )
        record.permit_sequence, record.permit_nonce = mine

    if not use.again:
        release.records.update(change, deadline)
    release.run.events.emit("permit", **use.told(), again=use.again)
    if use.loud:
        release.run.warn(f"{use.note}: nobody has checked review, build or tests of this")


def foreign_images(use: Use, image: Reference, pods: Sequence[Object], deadline: Deadline) -> tuple[Fault, ...]:
    """A fault for each container that shall run `image`, and by its imageID runs something else.

    A node knows an image of several platforms by the digest of its own one, and some runtimes by its configuration's.
    Where it has several manifests of one configuration, as after a build that was repeated, containerd and CRI-O keep
    one image, and name whichever of them comes first. What no node has named is inconclusive, and comes last.
    """
    wanted, digest = str(image), image.digest
    found = [(pod, name, running) for pod in pods for name, running in _running(pod, wanted)]
    odd = sorted((each for each in found if _digest(each[2]) != digest), key=lambda each: not each[2])
    known = use.aliases(image, deadline) if odd else frozenset()
    others = {_digest(running) for _, _, running in odd} - known
    known |= {other for other in others if DIGEST.match(other) and known & use.aliases(image.at(other), deadline)}
    return tuple(
        Fault(str(pod["metadata"]["name"]), name, "ImageID", f"it runs {running}, which is not {digest[:19]}")
        if running
        else Fault(str(pod["metadata"]["name"]), name, INCONCLUSIVE, "what image it runs is not known")
        for pod, name, running in odd
        if _digest(running) not in known
    )  # fmt: skip


def unnamed(pods: Sequence[Object], image: str) -> bool:
    """Whether a container that shall run `image` runs, and no node has said yet what."""
    return any(not running for pod in pods for _, running in _running(pod, image))


def _running(pod: Object, wanted: str) -> Iterator[tuple[str, str]]:
    """Name and imageID of each container whose specification asks for `wanted`, and which has run at all.

    A pod that has ended runs nothing any more; one that its node has rejected never did.
    """
    spec, status = pod.get("spec", {}), pod.get("status", {})
    if status.get("phase") in ("Failed", "Succeeded"):
        return
    for kind in ("initContainer", "container"):
        statuses: dict[str, Any] = {each["name"]: each for each in status.get(f"{kind}Statuses") or ()}
        for container in spec.get(f"{kind}s") or ():
            name = str(container["name"])
            running = str(statuses.get(name, {}).get("imageID") or "")
            if container.get("image") == wanted and (running or _has_begun(statuses.get(name), status)):
                yield name, running


def _has_begun(container: dict[str, Any] | None, pod: dict[str, Any]) -> bool:
    """Whether a container may run, by its own status, or by its pod's where it has none."""
    return "waiting" not in (container.get("state") or {}) if container else pod.get("phase") != "Pending"


def _digest(running: str) -> str:
    """The digest in an imageID such as `docker-pullable://registry/name@sha256:…` or `sha256:…`."""
    return running.rpartition("@")[2].rpartition("//")[2]
