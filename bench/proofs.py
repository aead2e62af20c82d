"""What is checked in benchmarks of trust: an image with attestations and a permit, and commits that were signed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from bench.service import CHECKOUT
from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.reference import Reference
from cdlib.registry.manifest import Manifest, digest_of
from cdlib.registry.repository import Registries
from cdlib.run import Run
from cdlib.trust.approval import NAMESPACE, Approval, compose, sign
from cdlib.trust.attached import CONFIG, MANIFEST, Attestation, attach
from cdlib.trust.permit import Asked, Spent, issue, permit_for
from cdlib.trust.predicates import Provenance, TestResult, Work
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement
from cdlib.trust.summary import DEPLOY, Place

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))  # repositories as Gerrit makes them, and keys
from notedb import ACCOUNTS, SID, Change, World
from signing import new_signers

LOOPBACK = "127.0.0.1"
LIMIT = 60.0  # seconds for one step
TREE, COMMIT = "1" * 40, "2" * 40


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry of its own: its host and port."""
    with socket.create_server((LOOPBACK, 0)) as free:
        host = f"{LOOPBACK}:{free.getsockname()[1]}"
    settings = {"version": "0.1", "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
                "log": {"level": "warn", "accesslog": {"disabled": True}}, "http": {"addr": host}}  # fmt: skip
    file = folder / "registry.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    server = process.start(["docker-registry", "serve", file], folder / "registry.log")
    try:
        _answers(f"http://{host}/v2/", server)
        yield host
    finally:
        server.terminate()
        server.wait()


def _answers(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LIMIT
    while server.poll() is None and time.monotonic() < end:
        try:
            with urlopen(url, timeout=LIMIT):
                return
        except URLError:
            time.sleep(0.05)
    raise CdError("the registry does not answer", hint="python -m lab install")


def permit_to_check(folder: Path, host: str) -> Path:
    """An image that was built, tested and permitted; what a deploy of it goes by, in a file."""
    signers = new_signers(folder)
    repository = Registries(Run("bench", Deadline(LIMIT))).repository(Reference(host, "bench/hello"))
    config = repository.upload(b"{}")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
                "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size}}  # fmt: skip
    raw = json.dumps(document).encode()
    manifest = Manifest(raw, MANIFEST, digest_of(raw))
    repository.put_manifest(manifest.digest, manifest)
    image, now = Reference(host, "bench/hello", digest=manifest.digest), datetime.now(UTC)
    work = Work("https://jenkins.test", "gate", "https://jenkins.test/1/", now, now)
    built = Provenance("hello", "production", TREE, "", "3" * 64, "4" * 64, (), False, work)
    tested = TestResult("hello", TREE, image.digest, "5" * 64, 9, 0, 0, True, (), work)
    place = Place("production", "hello/uid", "hello", "hello")
    asked = Asked(DEPLOY, place, COMMIT, "1,1", image.repository, image.digest, "sha256:" + "6" * 64,
                  "sha256:" + "7" * 64, "sha256:" + "8" * 64)  # fmt: skip
    said = [(PROVENANCE, built.predicate(), "provenance"), (TEST_RESULT, tested.predicate(), "test-result")]
    signed = [Attestation(make_statement(image.repository, image.digest, kind, predicate, signers.key(key)), kind)
              for kind, predicate, key in said]  # fmt: skip
    # Beside those of the build and the tests lie the permits of other environments.
    for other in (replace(asked, place=replace(place, environment=name)) for name in ("staging", "test")):
        signed.append(_permit(other, signers.key("permit")))
    attach(repository, image.digest, [*signed, _permit(asked, signers.key("permit"))])
    facts = {
        "image": str(image),
        "keys": {purpose: [str(file) for file in files] for purpose, files in signers.files.items()},
        "asked": {name: value for name, value in asdict(asked).items() if isinstance(value, str)},
        "place": [getattr(place, name) for name in Place.NAMES],
        "wanted": {"digest": image.digest, "service": "hello", "variant": "production", "tree": TREE,
                   "commit": COMMIT, "change": "1,1"},
    }  # fmt: skip
    return _kept(folder / "facts.json", facts)


def _permit(asked: Asked, key: object) -> Attestation:
    return Attestation(issue(permit_for(asked, Spent(), by="https://jenkins.test"), key), SUMMARY)  # type: ignore[arg-type]


def signed_commits(folder: Path, count: int) -> Path:
    """Changes that merged with votes and a signature each, every fourth rebased; what judges them, in a file."""
    folder.mkdir()
    world = World(folder / "served" / "hello")
    branch = world.branch("master")
    key = folder / "bob"
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], Deadline(LIMIT))
    changes: list[Change] = []
    for number in range(count):
        change = branch.change({f"f{number}": f"{number}\n"}).approve()
        if number % 4 == 3:
            changes[-1].submit()
            change.submit(kind="rebase")
        elif number % 4 != 2:
            change.submit()
        changes.append(change)
    for change in changes:
        _sign(change, key)
    world.save()
    kind, blob, *_ = key.with_suffix(".pub").read_text(encoding="utf-8").split()
    (folder / "allowed").write_text(f'bob namespaces="{NAMESPACE}" {kind} {blob}\n', encoding="utf-8")
    table = [{"_account_id": n, "username": name, "email": f"{name}@example.com"} for name, n in ACCOUNTS.items()]
    (folder / "accounts.json").write_text(json.dumps(table), encoding="utf-8")
    targets = {
        "version": 1,
        "gerrit": {"url": f"file://{folder}/served", "server_id": SID, "mail": "gerrit@example.com",
                   "accounts": ["accounts.json"], "mirrors": str(folder / "mirrors"), "allowed_signers": "allowed"},
        "environments": {"production": {"policy": "signed"}},
        "services": {"hello": {
            "image": "registry.example.org/hello",
            "review": {"approvers": ["bob"], "verifiers": ["zuul"], "since": branch.base},
            "environments": {"production": {"namespace": "hello", "release": "hello"}},
        }},
    }  # fmt: skip
    facts = {"targets": str(_kept(folder / "targets.yaml", targets)), "head": branch.head}
    return _kept(folder / "facts.json", facts)


def _sign(change: Change, key: Path) -> None:
    """Put bob's signature on the first patchset, as cd-approve does."""
    commit = change.commits[1]
    tree = change.branch.world.objects[commit][1].decode().partition("\n")[0].removeprefix("tree ")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    approval = Approval("hello", change.number, 1, commit, tree, "production", until)
    text = compose(approval, sign(approval, key, Deadline(LIMIT)))
    note: Any = change.notes.setdefault(commit, {"comments": []})
    note["comments"].append({"message": text})
    change.record("bob", ["Tag: autogenerated:none"], patchset=1)


def _kept(file: Path, document: object) -> Path:
    file.write_text(json.dumps(document), encoding="utf-8")
    return file
