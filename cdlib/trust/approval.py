"""Signed approvals: an approver's own SSH signature on the very patchset, which not even Gerrit's owner can forge.

What is signed is one line of JSON. It lies, with its signature, in a comment on the change; who wrote the comment
proves nothing. `ssh-keygen` signs and verifies; hardware-backed (`sk-`) keys are keys like others.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.trust import sshsig
from cdlib.trust.encoding import Unsound, read_json, read_time, require_fields, text_of, write_json
from cdlib.trust.sshsig import KEY_TYPES
from cdlib.units import timestamp

NAMESPACE = "approval@cdlib.org"  # of the signatures: one for another purpose is none here
MOST = 5  # signed approvals by one key that could count and are verified, the newest
_OTHERS = 20  # that cannot count, and are looked at to say why
_KIND = "cd-approval/1"
_FIELDS = ("type", "project", "change", "patchset", "commit", "tree", "environment", "expires")
_SIGNED = re.compile(r"^(?P<said>\{\"change\":[^\n]{1,4000}\})\n+(?P<signature>-----BEGIN SSH SIGNATURE-----\n"
                     r"[A-Za-z0-9+/=\n]{1,8000}-----END SSH SIGNATURE-----)", re.MULTILINE)  # fmt: skip
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,199}\Z")


@dataclass(frozen=True)
class Approval:
    """What is approved: a patchset by its commit and tree, for one environment, until it expires."""

    project: str
    change: int
    patchset: int
    commit: str
    tree: str
    environment: str
    expires: datetime

    def text(self) -> bytes:
        """The line that is signed, its end included."""
        return write_json({**asdict(self), "type": _KIND, "expires": timestamp(self.expires)}) + b"\n"


@dataclass(frozen=True)
class Signature:
    """A signed approval as it was found: not verified."""

    approval: Approval
    armored: bytes


@dataclass(frozen=True)
class Signers:
    """Whose keys count: usernames by their public keys, each as `type base64`."""

    names: Mapping[str, str]


def read_signers(file: Path) -> Signers:
    """The operators' allowed-signers file: `username namespaces="approval@cdlib.org" type key`, one a line.

    Stricter than OpenSSH, which passes over a line that it does not understand, and lets `*` be anybody. Raises
    UsageProblem.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "is no UTF-8 text"
        raise UsageProblem(f"the allowed signers {file}: {why}", hint="see gerrit.allowed_signers") from problem
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 4 or words[1] != f'namespaces="{NAMESPACE}"' or words[2] not in KEY_TYPES:
            raise _mistake(file, number, f'is not: username namespaces="{NAMESPACE}" type key')
        if not _PRINCIPAL.match(words[0]):
            raise _mistake(file, number, "names nobody by a plain username of Gerrit's")
        key = f"{words[2]} {words[3]}"
        if sshsig.type_of(words[3]) != words[2]:
            raise _mistake(file, number, "has no such key")
        if names.setdefault(key, words[0]) != words[0]:
            raise _mistake(file, number, f"gives {words[0]} a key that is {names[key]}'s already")
    return Signers(names)


def compose(approval: Approval, armored: str) -> str:
    """The comment that keeps a signed approval on its change."""
    until = f"{approval.expires:%Y-%m-%d %H:%M} UTC"
    said = approval.text().decode()
    return f"Approved for {approval.environment}, until {until}, by signature:\n\n{said}\n{armored.strip()}\n"


def sign(approval: Approval, key: Path, deadline: Deadline) -> str:
    """The armored signature by an SSH key: its file, or its public half where an agent has it.

    A key with a passphrase has to be in an agent, since nobody is asked for it; a token may ask for a touch. Raises
    UsageProblem.
    """
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
    done = process.run(argv, deadline, stdin=approval.text(), hint="install OpenSSH")
    if not done.ok or "BEGIN SSH SIGNATURE" not in done.stdout:
        raise UsageProblem(
            f"{key} did not sign",
            details=done.stderr[-3:],
            hint="one with a passphrase goes into ssh-agent: name its .pub",
        )
    return done.stdout


def find(comments: Iterable[str]) -> list[Signature]:
    """The signed approvals in comments, each once, the newest last; what is none is passed over."""
    found: dict[Signature, None] = {}
    for text in comments:
        for match in _SIGNED.finditer(text.replace("\r\n", "\n")):
            with suppress(Unsound):
                signature = Signature(_read(match["said"]), match["signature"].encode() + b"\n")
                found.pop(signature, None)
                found[signature] = None
    return list(found)


def worth_verifying(found: Iterable[Signature], wanted: Sequence[Approval], signers: Signers) -> list[Signature]:
    """Those of the signatures that are given to ssh-keygen, which takes a while each, so that there is an end to it.

    Everybody may comment, and copy what others have signed. So what counts, by what it says and by whose key has
    signed it, is never left out for what does not.
    """
    could = defaultdict[str, list[Signature]](list)
    others: list[Signature] = []
    for signature in found:
        fits = any(not why_not(signature.approval, each) for each in wanted)
        key = _listed_key(signature, signers) if fits else ""
        (could[key] if key else others).append(signature)
    return [*others[-_OTHERS:], *(each for mine in could.values() for each in mine[-MOST:])]


def _listed_key(signature: Signature, signers: Signers) -> str:
    """The key that has signed, where it is an allowed one, as far as can be told here; else empty."""
    with suppress(Unsound):
        made = sshsig.read(signature.armored)
        if made.public in signers.names and made.can_hold(signature.approval.text(), NAMESPACE):
            return made.public
    return ""


def signer(signature: Signature, signers: Signers, deadline: Deadline) -> str:
    """Who signed: their username. Raises Unsound where nobody did whose key is allowed."""
    key = sshsig.read(signature.armored).public
    name = signers.names.get(key)
    if name is None:
        raise Unsound("the key that signed it is not among the allowed signers")
    with tempfile.TemporaryDirectory(prefix="cd-approval-") as folder:
        allowed, armored = Path(folder) / "allowed", Path(folder) / "signature"
        allowed.write_text(f'{name} namespaces="{NAMESPACE}" {key}\n')
        armored.write_bytes(signature.armored)
        argv: list[str | Path] = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            allowed,
            "-I",
            name,
            "-n",
            NAMESPACE,
            "-s",
            armored,
        ]
        done = process.run(argv, deadline, stdin=signature.approval.text(), tied=False, hint="install OpenSSH")
    if not done.ok:
        raise Unsound(f"the signature in {name}'s name does not hold")
    return name


def why_not(approval: Approval, wanted: Approval, now: datetime | None = None) -> str:
    """Why an approval does not mean what is wanted, by the words of a reviewer; empty where it does."""
    now = now or datetime.now(UTC)
    for name in ("project", "change", "environment", "patchset", "commit", "tree"):
        said, needed = getattr(approval, name), getattr(wanted, name)
        if said != needed:
            return f"is for {name} {str(said)[:40]}, not {str(needed)[:40]}"
    return f"expired on {approval.expires:%Y-%m-%d %H:%M} UTC" if approval.expires < now else ""


def comments_in(notes: Iterable[bytes]) -> Iterator[str]:
    """The texts of comments in what Gerrit keeps of a patchset, in its order."""
    for raw in notes:
        with suppress(ValueError, RecursionError):
            document: Any = json.loads(raw)
            comments = document.get("comments") if isinstance(document, dict) else None
            for comment in comments if isinstance(comments, list) else ():
                if isinstance(comment, dict) and isinstance(comment.get("message"), str):
                    yield comment["message"]


def _read(said: str) -> Approval:
    """The approval in a line. Raises Unsound unless that is exactly as we write it."""
    raw = said.encode("utf-8", "surrogatepass")  # halves of pairs are no UTF-8, and so no approval
    document = require_fields(read_json(raw), _FIELDS)
    numbers = (document["change"], document["patchset"])
    if document["type"] != _KIND or not all(type(number) is int and number > 0 for number in numbers):
        raise Unsound("it is no approval")
    texts = {name: text_of(document, name, longest=500) for name in ("project", "commit", "tree", "environment")}
    approval = Approval(change=numbers[0], patchset=numbers[1], expires=read_time(document["expires"]), **texts)
    if approval.text() != raw + b"\n":
        raise Unsound("it is not written as approvals are")
    return approval


def _mistake(file: Path, number: int, what: str) -> UsageProblem:
    return UsageProblem(f"{file}, line {number}, {what}", hint="docs/keys.md shows a line; wildcards name nobody")
