"""Candidates: images that were built from a tree, written once under the key of what they were built of."""

from __future__ import annotations

from collections.abc import Callable

from cdlib.errors import Refused, RegistryRefused, Unavailable
from cdlib.image.built import find_built
from cdlib.image.plan import DIRTY_LABEL, TREE_LABEL, VARIANT_LABEL, Plan, tree_tag
from cdlib.image.published import Published
from cdlib.image.work import Work
from cdlib.registry.manifest import Manifest
from cdlib.registry.repository import Repository
from cdlib.retry import retrying
from cdlib.target import Target
from cdlib.trigger import read_trigger


def publish_candidate(
    work: Work, variant: str, *, acceptable: Callable[[str], bool] = lambda _digest: True
) -> Published:
    """Have the image of `variant` in the candidates' repository under its key: found there, or pushed once.

    A candidate whose digest is not `acceptable` makes way for the local build. Raises RegistryRefused where there is
    neither a candidate nor a local build, Refused where it may not be.
    """
    target = publishing_target(work)
    plan = work.plan(variant)
    manifest = candidate_of(work, target, plan)
    if manifest and acceptable(manifest.digest):
        _name_by_tree(work, target, plan, manifest)
        return Published(target.candidates.repository, plan.candidate_tag, manifest.digest, unchanged=True)
    pushed = push_candidate(work, target, plan)
    return Published(target.candidates.repository, plan.candidate_tag, pushed.digest if pushed else "", unchanged=False)


def find_candidate(work: Work, variant: str) -> str:
    """The digest of the candidate of `variant`, made of the bases of now; empty where there is none.

    Raises Refused where it may not be used.
    """
    manifest = candidate_of(work, publishing_target(work), work.plan(variant))
    return manifest.digest if manifest else ""


def find_last_candidate(work: Work, variant: str, *, by_hand: bool = False) -> str:
    """The digest of the candidate that was last made of the tree; empty where there is none.

    `by_hand` is for somebody who answers for it, outside of any pipeline. Raises Refused where it may not be used.
    """
    target = publishing_target(work, by_hand=by_hand)
    manifest = candidate_of_tree(work, target, variant) or candidate_of(work, target, work.plan(variant))
    return manifest.digest if manifest else ""


def publishing_target(work: Work, *, by_hand: bool = False) -> Target:
    """The target, where publishing is allowed at all. Raises Refused elsewhere, and where anything is uncommitted."""
    assert work.target is not None
    if not by_hand:
        read_trigger().require_publishing(work.target.strictest_policy, "publishing")
    if work.source.dirty or work.source.uncommitted:
        raise Refused(
            f"{work.source.folder.resolve()} has uncommitted changes: only what is committed can be published",
            hint="commit them, or put them aside with git stash --include-untracked; then build-image, and this again",
        )
    return work.target


def candidate_of(work: Work, target: Target, plan: Plan) -> Manifest | None:
    """The candidate that was made by `plan`. Raises RegistryRefused where its tag holds something else."""
    repository = work.registries.repository(target.candidates)
    manifest = repository.manifest(plan.candidate_tag)
    if manifest and not plan.made(repository.labels(manifest)):
        raise RegistryRefused(
            f"{repository.name}:{plan.candidate_tag} is not what its tag says: its labels name another key",
            hint="find out who wrote it; then delete that tag, and run publish-tag --candidate again",
        )
    return manifest


def candidate_of_tree(work: Work, target: Target, variant: str) -> Manifest | None:
    """The candidate that was last made of the tree, whatever became of its bases since. Asks for no base image.

    Raises RegistryRefused where its tag holds something else. That says nothing of who made it: provenance does.
    """
    repository, tag = work.registries.repository(target.candidates), tree_tag(variant, work.source.tree)
    manifest = repository.manifest(tag)
    labels = repository.labels(manifest) if manifest else {}
    wanted = {TREE_LABEL: work.source.tree, VARIANT_LABEL: variant, DIRTY_LABEL: "false"}
    if manifest and any(labels.get(name) != value for name, value in wanted.items()):
        raise RegistryRefused(
            f"{repository.name}:{tag} is not what its tag says: its labels name another tree",
            hint="find out who wrote it; then delete that tag, and let the gate build the change again",
        )
    return manifest


def _name_by_tree(work: Work, target: Target, plan: Plan, manifest: Manifest) -> None:
    """Let the tree's tag name this candidate, which a run has just taken for its own."""
    repository = work.registries.repository(target.candidates)
    if repository.digest(plan.tree_tag) == manifest.digest:
        return
    if not work.run.would(f"PUT /v2/{target.candidates.path}/manifests/{plan.tree_tag} at {target.candidates.host}"):
        repository.put_manifest(plan.tree_tag, manifest)


def push_candidate(work: Work, target: Target, plan: Plan) -> Manifest | None:
    """Push the Engine's build as a candidate and read it back; None in a dry run."""
    image = find_built(work, plan)
    if image is None:
        raise nothing_built(work, plan)
    place = target.candidates.tagged(plan.candidate_tag)
    if work.run.would(f"docker push {plan.local_name} as {place}, and as {plan.cache_tag} for later builds"):
        return None
    repository = work.registries.repository(target.candidates)
    repository.require_writable()
    with work.run.stage("push", str(place)) as found:
        engine = work.engine
        told = retrying(lambda: engine.push(image.id, place, work.run.output), work.run.deadline, attempts=3)
        manifest = repository.manifest(plan.candidate_tag)
        if manifest is None or not _may_stand_for(image.id, told, plan, repository, manifest):
            has = manifest.config.digest if manifest else "nothing"
            raise RegistryRefused(
                f"{place} was pushed as {image.id}, and reads back as {has}",
                hint="see who else writes there, and run this again",
            )
        repository.put_manifest(plan.cache_tag, manifest)
        repository.put_manifest(plan.tree_tag, manifest)
        found["digest"] = manifest.digest
    return manifest


def _may_stand_for(image: str, told: str, plan: Plan, repository: Repository, manifest: Manifest) -> bool:
    """Whether what reads back after a push is the pushed `image`, or as good: another run may push the same meanwhile.

    `told` is the digest by which the Engine says that the registry took it; empty where it says none.
    """
    # The Engine knows an image by its configuration's digest, or, with containerd's store, by its manifest's.
    if image in (manifest.config.digest, manifest.digest) and told in ("", manifest.digest):
        return True
    # Labels can be copied, and who signs signs for bytes.
    return not plan.attested and plan.made(repository.labels(manifest))


def find_local(work: Work, plan: Plan) -> str:
    """The id of the Engine's own build; empty where it has none. No Engine at all is no error, only no build."""
    try:
        built = find_built(work, plan)
    except Unavailable:
        return ""
    return built.id if built else ""


def nothing_built(work: Work, plan: Plan) -> RegistryRefused:
    """The error for whoever wants to publish what nobody has built."""
    assert work.target is not None
    return RegistryRefused(
        f"nothing to publish: {work.target.candidates.repository} has no candidate {plan.variant}-{plan.key[:12]}…, "
        f"and this machine's Docker has no build of {plan.variant} at {work.source.short}",
        hint=f"run build-image --variant {plan.variant} first",
    )
