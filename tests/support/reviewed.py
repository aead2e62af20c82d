"""A service whose commits are reviewed, whose images are attested, and whose deploys need a permit."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from deployments import Deployment, Ran
from notedb import ACCOUNTS, SID, Branch, Change, World
from signing import Signers, new_signers

from cdlib.deadline import Deadline
from cdlib.image.promote import promote
from cdlib.reference import parse
from cdlib.registry.repository import Repository
from cdlib.registry.transport import Transport
from cdlib.report.audit import check
from cdlib.trust.attached import Attestation, attach, fetch
from cdlib.trust.predicates import Provenance, TestResult, Work
from cdlib.trust.statement import PROVENANCE, TEST_RESULT, make_statement

GATED = {"ZUUL_UUID": "u", "ZUUL_PIPELINE": "postmerge", "ZUUL_PROJECT": "web", "BUILD_URL": "https://jenkins.test/7/"}


def there(name: str) -> Repository:
    """A repository of the lab's registry."""
    reference = parse(name)
    return Repository(Transport(reference.host, Deadline(120)), reference.path)


@dataclass
class Reviewed:
    """A deployment with a Gerrit's records, keys, an image repository of its own, and audit records."""

    web: Deployment
    base: Path
    signers: Signers
    world: World
    branch: Branch
    image: str
    digests: list[str] = field(default_factory=list)

    @classmethod
    def create(cls, web: Deployment, base: Path, *digests: str) -> Reviewed:
        """`digests` are images of the deployment's repository, which are copied into one of the test's own."""
        signers, world = new_signers(base / "keys"), World(base / "served" / "web")
        files = {str(p.relative_to(web.folder)): p.read_text() for p in web.folder.rglob("*")
                 if p.is_file() and not {".git", ".cd"} & set(p.relative_to(web.folder).parts)}  # fmt: skip
        image = f"{parse(web.image).host}/t/permits-{secrets.token_hex(4)}"
        made = cls(web, base, signers, world, world.branch("master", files), image)
        for digest in digests:
            manifest = there(web.image).manifest(digest)
            assert manifest
            promote(there(web.image), there(image), manifest)
            made.digests.append(digest)
        table = [{"_account_id": number, "username": name, "email": f"{name}@example.com"}
                 for name, number in ACCOUNTS.items()]  # fmt: skip
        (base / "accounts.json").write_text(json.dumps(table))
        web.targets["environments"]["test"]["policy"] = "reviewed"
        web.targets["keys"] = {purpose: [str(f) for f in files] for purpose, files in signers.files.items()}
        web.targets["gerrit"] = {"url": f"file://{base}/served", "server_id": SID, "mail": "gerrit@example.com",
                                 "accounts": ["accounts.json"], "mirrors": str(base / "mirrors")}  # fmt: skip
        web.targets["services"]["web"] |= {"image": image, "project": "web", "review": {
            "approvers": ["bob", "carol"], "verifiers": ["zuul"], "since": made.branch.base}}  # fmt: skip
        web.write_targets()
        made.take()
        return made

    @property
    def digest(self) -> str:
        """The first image."""
        return self.digests[0]

    def change(self, approver: str = "bob", **values: Any) -> Change:
        """A change to the values that is merged, approved by somebody or by nobody, and taken."""
        made = self.branch.change({"values.yaml": yaml.safe_dump(values)})
        made.approve(approver).submit()
        self.take()
        return made

    def take(self) -> str:
        """Have the branch's newest commit in the work tree."""
        self.world.save()
        self.web.git("fetch", "-q", str(self.world.folder), "master")
        self.web.git("checkout", "-q", "--force", "FETCH_HEAD")
        return self.web.git("rev-parse", "HEAD")

    def attest(self, digest: str = "", *, good: bool = True, keys: tuple[str, str] = ("provenance", "test-result"),
               tree: str = "") -> None:  # fmt: skip
        """Say of an image that it was built from the work tree's commit, and how its tests went."""
        digest, now = digest or self.digest, datetime.now(UTC)
        tree = tree or self.web.git("rev-parse", "HEAD^{tree}")
        work = Work("https://jenkins.test", "gate", "https://jenkins.test/1/", now, now)
        built = Provenance("web", "production", tree, "", "1" * 64, "2" * 64, (), False, work)
        tested = TestResult("web", tree, "sha256:" + "3" * 64, "4" * 64, 1, 0 if good else 1, 0, good, (), work)
        said = [(PROVENANCE, built.predicate(), keys[0]), (TEST_RESULT, tested.predicate(), keys[1])]
        attach(there(self.image), digest, [
            Attestation(make_statement(self.image, digest, kind, predicate, self.signers.key(key)), kind)
            for kind, predicate, key in said])  # fmt: skip

    def authorize(self, *argv: str, key: str = "permit", digest: str = "") -> Ran:
        """Run authorize-deploy as the authorizer does."""
        which = () if "--rollback" in argv else ("--digest", digest or self.digest)
        key_file = ("--signing-key", str(self.signers.file(key))) if key else ()
        return self.web.run("authorize-deploy", *which, *key_file, "--audit", str(self.audit("authorizer")), *argv,
                            env=GATED)  # fmt: skip

    def deploy(self, *argv: str, digest: str = "", env: dict[str, str] | None = None) -> Ran:
        """Run helm-deploy as the deploy job does."""
        return self.web.deploy("--audit", str(self.audit("deployer")), *argv, digest=digest or self.digest,
                               env={**GATED, **(env or {})})  # fmt: skip

    def rollback(self, *argv: str) -> Ran:
        """Run helm-rollback as a person lets Jenkins do it."""
        return self.web.run("helm-rollback", "--audit", str(self.audit("deployer")), *argv, env=GATED)

    def ship(self, **values: Any) -> str:
        """Take a reviewed change all the way; returns its commit."""
        self.change(**values)
        self.attest()
        done = self.authorize()
        assert done.code == 0, done.err
        done = self.deploy()
        assert done.code == 0, done.err
        return self.web.git("rev-parse", "HEAD")

    def audit(self, who: str) -> Path:
        """The audit record of an agent."""
        return self.base / f"{who}.audit"

    def audited(self, who: str) -> list[str]:
        """What an agent's audit record has, which must be sound."""
        found = list(check(self.audit(who)))
        assert [problem for _, problem in found] == [""] * len(found)
        return [str(entry["event"]) for entry, _ in found]

    def envelopes(self, digest: str = "") -> list[bytes]:
        """What lies beside an image."""
        return fetch(there(self.image), digest or self.digest)
