"""What build-image, run-tests and publish-tag share: to say beside the image what was done, signed by who did it.

Here the library's parts meet that know nothing of each other: images, and trust.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdlib.image.built import Built
    from cdlib.image.testrun import Tested
    from cdlib.image.work import Work
    from cdlib.reference import Reference
    from cdlib.trust import predicates
    from cdlib.trust.keys import Keyring, PrivateKey

Predicate = dict[str, Any]


@dataclass
class Witness:
    """One step that signs what it did. `purpose` is what targets.yaml's `keys` must list its key for."""

    work: Work
    key: PrivateKey
    ring: Keyring
    started: datetime

    def done(self) -> predicates.Work:
        """Who did it, for whom, from when to now."""
        from cdlib.trigger import read_trigger
        from cdlib.trust.predicates import Work

        trigger = read_trigger()
        page = urllib.parse.urlsplit(trigger.url)
        builder = f"{page.scheme}://{page.netloc}" if page.netloc else f"https://cdlib.org/builder/{trigger.source}"
        job = os.environ.get("JOB_NAME", "") or trigger.pipeline or trigger.source
        invocation = trigger.url or trigger.build or self.work.run.events.run_id
        return Work(builder, job, invocation, self.started, datetime.now(UTC))

    def attach(self, digest: str, predicate_type: str, predicate: Predicate) -> str:
        """Sign it, and put it beside the candidate. What the result says of it."""
        from cdlib.trust.attached import Attestation, attach
        from cdlib.trust.statement import make_statement

        place = self.candidates.at(digest)
        with self.work.run.stage("attest", str(place)) as found:
            envelope = make_statement(place.repository, digest, predicate_type, predicate, self.key)
            attach(self.work.registries.repository(place), digest, [Attestation(envelope, predicate_type)])
            found["predicate"] = predicate_type
        return f"{predicate_type} {place}"

    @property
    def candidates(self) -> Reference:
        """The candidates' repository."""
        assert self.work.target is not None
        return self.work.target.candidates


def open_witness(work: Work, file: Path | None, purpose: str) -> Witness | None:
    """The step's witness, None where no key was given. Raises UsageProblem for a key that nobody would believe."""
    from cdlib.errors import UsageProblem

    if file is None:
        return None
    from cdlib.trust.keys import read_keyring, read_private

    if work.target is None:
        raise UsageProblem("to attest takes targets.yaml: it says where candidates are", hint="name it by --targets")
    key, ring = read_private(file), read_keyring(work.target.keys)
    if key.public not in ring.get(purpose, ()):
        raise UsageProblem(
            f"targets.yaml does not list the key {key.public.id[:19]}… under keys.{purpose}: nobody would believe it",
            hint=f"give this step its own key, or add its public half under keys.{purpose}",
        )
    work.attested = True
    return Witness(work, key, ring, datetime.now(UTC))


def attest_build(witness: Witness | None, images: Sequence[Built]) -> list[str]:
    """Push the image that is deployed as a candidate, and say how it was built; what was attested."""
    from cdlib.image.candidate import publish_candidate
    from cdlib.trust.predicates import Provenance
    from cdlib.trust.statement import PROVENANCE

    variant = witness.work.service.deploy.variant if witness else ""
    built = next((image for image in images if image.variant == variant), None)
    if witness is None or built is None:
        return []
    work, plan = witness.work, witness.work.plan(variant)

    def attested(digest: str) -> bool:
        return has_provenance(work, witness.candidates.at(digest), witness.ring)

    published = publish_candidate(work, variant, acceptable=attested)
    if published.unchanged or work.run.would(f"attest how {plan.local_name} was built, beside {published.reference}"):
        return []
    bases = tuple((base.reference, base.digest) for base in plan.bases)
    said = Provenance(work.service.name, variant, work.source.tree, work.source.url, plan.key, plan.configuration,
                      bases, built.unchanged, witness.done())  # fmt: skip
    return [witness.attach(published.digest, PROVENANCE, said.predicate())]


def has_provenance(work: Work, image: Reference, ring: Keyring) -> bool:
    """Whether a key of `ring` says beside the image that it was built from this very tree: its labels and its tag,
    which anybody who may push can write, say nothing."""
    from cdlib.trust.attached import fetch
    from cdlib.trust.evidence import Wanted, is_attested
    from cdlib.trust.statement import PROVENANCE

    wanted = Wanted.of(work.source, work.service, image.digest)
    envelopes = fetch(work.registries.repository(image), image.digest, ring)
    return is_attested(envelopes, wanted, ring, PROVENANCE)


def attest_tests(witness: Witness, tested: Tested, good: bool) -> list[str]:
    """Say of the candidate of the same tree how its tests went; what was attested.

    Where they went badly, that is the error to be told: what cannot be attested then is a warning.
    """
    from cdlib.errors import CdError

    try:
        return _attest_tests(witness, tested, good)
    except CdError as problem:
        if good:
            raise
        witness.work.run.warn(f"that the tests failed is not attested: {problem.message}")
        return []


def _attest_tests(witness: Witness, tested: Tested, good: bool) -> list[str]:
    from cdlib.errors import Refused, RegistryRefused
    from cdlib.image.candidate import find_candidate
    from cdlib.trust.predicates import MOST_FAILURES, TestResult
    from cdlib.trust.statement import TEST_RESULT

    work, tests = witness.work, tested.tests
    if work.run.would(f"attest the test result beside the candidate in {witness.candidates.repository}"):
        return []
    digest = find_candidate(work, work.service.deploy.variant)
    if not digest:
        raise RegistryRefused(
            f"{witness.candidates.repository} has no candidate of this tree to attest a test result for",
            hint="run build-image with its signing key first",
        )
    if not has_provenance(work, witness.candidates.at(digest), witness.ring):
        raise Refused(
            f"{witness.candidates.at(digest)} is not what was built from this tree: it has no provenance",
            hint="see who else writes there, and run build-image with its signing key again",
        )
    # Words of the tests, which everybody will read.
    failures = tuple(map(work.run.redactor.text, tests.failures[:MOST_FAILURES]))
    said = TestResult(work.service.name, work.source.tree, tested.image.id, tested.image.key, tests.passed,
                      tests.failed, tests.skipped, good, failures, witness.done())  # fmt: skip
    return [witness.attach(digest, TEST_RESULT, said.predicate())]


def bring_attestations(work: Work) -> Callable[[str], None]:
    """What brings a digest's attestations from the candidates to where it is published: those that hold, only."""

    def bring(digest: str) -> None:
        target = work.target
        if target is None or not target.keys or target.candidates == target.image:
            return
        if work.run.would(f"take the attestations of {digest[:19]} to {target.image.repository}"):
            return
        from cdlib.trust.attached import Attestation, attach, fetch
        from cdlib.trust.encoding import Unsound
        from cdlib.trust.keys import read_keyring
        from cdlib.trust.statement import read_statement

        ring, good = read_keyring(target.keys), list[Attestation]()
        for envelope in fetch(work.registries.repository(target.candidates), digest, ring):
            try:
                good.append(Attestation(envelope, read_statement(envelope, ring).predicate_type))
            except Unsound as problem:
                work.run.warn(f"an attestation of {digest[:19]} is left behind: {problem}")
        attach(work.registries.repository(target.image), digest, good)

    return bring
