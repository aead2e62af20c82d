"""The authorizer's seal: what it signs permits with, and where a permit goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.permits import Permits, spent
from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.reference import Reference
    from cdlib.rollout.record import Record
    from cdlib.trust.keys import Keyring, PrivateKey
    from cdlib.trust.permit import Asked

FILE = "permit.json"  # below --out; helm-deploy --permit takes it where the registry cannot be written


@dataclass(frozen=True)
class Seal:
    """With what a permit is signed, and why: a reason is a break-glass permit's."""

    key: PrivateKey
    purpose: str
    reason: str = ""

    @property
    def loud(self) -> bool:
        """Whether it breaks the glass."""
        return self.purpose == "break-glass"


def open_seal(ring: Keyring, file: Path | None, *, break_glass: bool, reason: str) -> Seal:
    """The seal by the key in `file`. Raises UsageProblem for a key or a reason whose permits no deploy would take."""
    from cdlib.errors import UsageProblem
    from cdlib.trust.keys import read_private
    from cdlib.trust.summary import LONGEST_TEXT

    purpose = "break-glass" if break_glass else "permit"
    if break_glass and not reason.strip():
        raise UsageProblem("to break the glass takes a reason, which everybody will read", hint="give it by --reason")
    if len(reason) > LONGEST_TEXT:
        raise UsageProblem(f"the reason has {len(reason)} characters, and a permit takes {LONGEST_TEXT}",
                           hint="give a shorter one, which says where the rest is written")  # fmt: skip
    if reason != reason.encode("utf-8", "replace").decode():
        raise UsageProblem("the reason is no UTF-8", hint="type it again, in a terminal that is set to UTF-8")
    if file is None:
        raise UsageProblem(
            "a permit has to be signed, and no key is given",
            hint="name the authorizer's key by --signing-key (CD_SIGNING_KEY); docs/keys.md says how to make one",
        )
    key = read_private(file)
    if key.public not in ring.get(purpose, ()):
        raise UsageProblem(
            f"targets.yaml does not list the key {key.public.id[:19]}… under keys.{purpose}: no deploy believes it",
            hint=f"give the authorizer its own key, or add its public half under keys.{purpose}",
        )
    return Seal(key, purpose, reason)


def issue(permits: Permits, asked: Asked, record: Record, seal: Seal, image: Reference) -> Result:
    """Sign the permit, and put it beside the image. The audit record has it first, so that there is none without."""
    from cdlib.errors import CdError
    from cdlib.registry.repository import Registries
    from cdlib.trust import permit as permits_of
    from cdlib.trust.attached import Attestation, attach
    from cdlib.trust.statement import SUMMARY

    run, trigger = permits.run, permits.release.trigger
    by = trigger.url or trigger.build or f"https://cdlib.org/authorizer/{trigger.who}"
    permit = permits_of.permit_for(asked, spent(record), by=by, reason=seal.reason)
    until = f"{permit.expires:%H:%M:%S} UTC"
    shown = {"digest": asked.digest, "image": str(image), "sequence": permit.sequence, "expires": until}
    if run.would(f"permit the {asked.about}, until {until}, and put that beside {image}"):
        return {**shown, "text": f"the {asked.about} would be permitted"}
    raw = permits_of.issue(permit, seal.key)
    _require_readable(raw, asked, permits.ring)
    told = {"kind": seal.purpose, "permit": f"{permit.sequence}-{permit.nonce[:8]}", "by": by, "reason": seal.reason}
    permits.note("permit", digest=asked.digest, commit=asked.commit, action=asked.action, **told)
    (run.out / FILE).write_bytes(raw + b"\n")
    if seal.loud:
        run.events.emit("permit", **told, again=False)
        run.warn(f"break-glass by {by}: {seal.reason}: nobody has checked review, build or tests of this")
    try:
        with run.stage("permit", str(image)):
            repository = Registries(run, permits.target.plain_http).repository(image)
            attach(repository, asked.digest, [Attestation(raw, SUMMARY)])
    except CdError as problem:
        if not seal.loud:
            raise
        run.warn(f"the permit is not beside the image: {problem.message}; hand {run.out / FILE} to the deploy")
    return {**shown, "permit": told, "text": f"permit {told['permit']} for the {asked.about}, until {until}"}


def _require_readable(raw: bytes, asked: Asked, ring: Keyring) -> None:
    """Raise UsageProblem where no deploy could read the permit in `raw`: an emergency must not find out only then."""
    from cdlib.errors import UsageProblem
    from cdlib.trust.encoding import Unsound
    from cdlib.trust.statement import read_statement
    from cdlib.trust.summary import read_permit

    try:
        read_permit(read_statement(raw, ring))
    except Unsound as problem:
        raise UsageProblem(
            f"no deploy would take the permit for the {asked.about}: {problem}",
            hint="see to what it says: the trigger's address, the change, the names in targets.yaml",
        ) from problem
