"""Publishing: a candidate written once under its key, and promoted by digest to where deploys take it from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdlib.errors import Refused, RegistryRefused, Unavailable, UsageProblem
from cdlib.image.built import find_built
from cdlib.image.plan import TREE_LABEL, VARIANT_LABEL, Plan
from cdlib.image.promote import promote, set_tag
from cdlib.image.work import Work
from cdlib.reference import TAG
from cdlib.registry.manifest import Manifest
from cdlib.registry.repository import Repository
from cdlib.retry import retrying
from cdlib.target import Target
from cdlib.trigger import read_trigger


@dataclass(frozen=True)
class Published:
    """An image in a registry. `digest` is empty in a dry run that cannot know it yet."""

    repository: str
    tag: str
    digest: str
    unchanged: bool

    @property
    def reference(self) -> str:
        """`repository:tag@digest`."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")

    def as_dict(self) -> dict[str, Any]:
        """For the result."""
        shown = {"repository": self.repository, "tag": self.tag, "reference": self.reference}
        return {**shown, **({"digest": self.digest} if self.digest else {})}


def publish_candidate(
    work: Work, variant: str, *, acceptable: Callable[[str], bool] = lambda _digest: True
) -> Published:
    """Have the image of `variant` in the candidates' repository under its key: found there, or pushed once.

    A candidate whose digest is not `acceptable` makes way for the local build. Raises RegistryRefused where there is
    neither a candidate nor a local build, Refused where it may not be.
    """
    target = _require(work)
    plan = work.plan(variant)
    manifest = _find_candidate(work, target, plan)
    if manifest and acceptable(manifest.digest):
        return Published(target.candidates.repository, plan.candidate_tag, manifest.digest, unchanged=True)
    pushed = _push_candidate(work, target, plan)
    return Published(target.candidates.repository, plan.candidate_tag, pushed.digest if pushed else "", unchanged=False)


def find_candidate(work: Work, variant: str, *, by_hand: bool = False) -> str:
    """The digest of the candidate of `variant`; empty where there is none. Raises Refused where it may not be used.

    `by_hand` is for somebody who answers for it, outside of any pipeline.
    """
    manifest = _find_candidate(work, _require(work, by_hand=by_hand), work.plan(variant))
    return manifest.digest if manifest else ""


def publish_permitted(work: Work, digest: str, along: Callable[[str], None]) -> Published:
    """Promote exactly `digest`, which somebody has permitted to be deployed, under the commit's own tag; no other tag
    moves. An image of another tree gets a tag of its own, for the commit's would be that image forever.

    Raises RegistryRefused where there is no such candidate, or the tag is taken.
    """
    target = _require(work, by_hand=True)
    destination = work.registries.repository(target.image)
    places = (destination, work.registries.repository(target.candidates))
    holder, manifest = next(((place, found) for place in places if (found := place.manifest(digest))), (None, None))
    if holder is None or manifest is None:
        raise RegistryRefused(
            f"neither {target.image.repository} nor {target.candidates.repository} has {digest}",
            hint="the permit is for another image; let the gate build one, and have that permitted",
        )
    tag = work.source.default_tag
    if _labels(holder, manifest).get(TREE_LABEL) != work.source.tree:
        tag = f"break-glass-{digest.removeprefix('sha256:')[:12]}"
        work.run.warn(f"{digest[:19]} is of another tree than {work.source.short}, whose own tag stays free: "
                      f"it becomes {tag}; deploy it by helm-deploy --digest {digest}")  # fmt: skip
    taken = {tag: destination.digest(tag)}
    _require_unmoved(target, destination, taken, digest)
    new = [tag] if taken[tag] != digest else []
    _write(work, target, manifest, destination, new, along)
    return Published(target.image.repository, tag, digest, unchanged=not new)


def publish(
    work: Work,
    variant: str,
    tags: Sequence[str] = (),
    *,
    moving: bool = True,
    along: Callable[[str], None] = lambda _digest: None,
    require: Callable[[str], None] = lambda _digest: None,
) -> Published:
    """Promote the candidate of `variant` to the service's repository, under `tags` or the commit's own.

    Where there is no candidate, a local build becomes one first. With `moving`, what is newly published under
    the commit's own tag also gets those that targets.yaml lists as moving. `along` brings what belongs to a digest,
    before a tag points to it; `require` raises where a digest may not be published. Raises RegistryRefused where
    another tag would have to move.
    """
    target = _require(work)
    wanted = _tags(tags or [work.source.default_tag])
    plan = work.plan(variant)
    destination = work.registries.repository(target.image)
    taken = {tag: destination.digest(tag) for tag in wanted}
    manifest = _find_candidate(work, target, plan)
    local = "" if manifest else find_local(work, plan)
    if not manifest and not local:
        digest = _published_before(work, plan, destination, taken)
        return Published(target.image.repository, wanted[0], digest, unchanged=True)
    _require_unmoved(target, destination, taken, manifest.digest if manifest else local)
    require(manifest.digest if manifest else local)
    if manifest is None and (manifest := _push_candidate(work, target, plan)):
        require(manifest.digest)
    new = [tag for tag in wanted if manifest is None or taken[tag] != manifest.digest]
    fixed = [tag for tag in new if tag not in target.moving_tags]
    others = [tag for tag in target.moving_tags if tag not in wanted] if moving and fixed and not tags else []
    # The tag that deploys look for comes last: whoever finds it finds everything.
    every = [*others, *(tag for tag in new if tag not in fixed), *reversed(fixed)]
    _write(work, target, manifest, destination, every, along)
    return Published(target.image.repository, wanted[0], manifest.digest if manifest else "", unchanged=not new)


def find_local(work: Work, plan: Plan) -> str:
    """The id of the Engine's own build; empty where it has none. No Engine at all is no error, only no build."""
    try:
        built = find_built(work, plan)
    except Unavailable:
        return ""
    return built.id if built else ""


def _require(work: Work, *, by_hand: bool = False) -> Target:
    """The target, where publishing is allowed at all."""
    assert work.target is not None
    if not by_hand:
        read_trigger().require_publishing(work.target.strictest_policy, "publishing")
    if work.source.dirty or work.source.uncommitted:
        raise Refused(
            f"{work.source.folder.resolve()} has uncommitted changes: only what is committed can be published",
            hint="commit them, or put them aside with git stash --include-untracked; then build-image, and this again",
        )
    return work.target


def _tags(tags: Sequence[str]) -> list[str]:
    for tag in tags:
        if not TAG.match(tag):
            raise UsageProblem(
                f"{tag!r} is no tag", hint="a tag has letters, digits, '_', '.' and '-', 128 characters at most"
            )
    return list(dict.fromkeys(tags))


def _find_candidate(work: Work, target: Target, plan: Plan) -> Manifest | None:
    """The candidate that was made by `plan`. Raises RegistryRefused where its tag holds something else."""
    repository = work.registries.repository(target.candidates)
    manifest = repository.manifest(plan.candidate_tag)
    if manifest and not plan.made(_labels(repository, manifest)):
        raise RegistryRefused(
            f"{repository.name}:{plan.candidate_tag} is not what its tag says: its labels name another key",
            hint="find out who wrote it; then delete that tag, and run publish-tag --candidate again",
        )
    return manifest


def _labels(repository: Repository, manifest: Manifest) -> Mapping[str, str]:
    """The labels of an image; of an index, those of its first image."""
    while manifest.is_index:
        child = repository.manifest(manifest.children[0]) if manifest.children else None
        if child is None:
            return {}
        manifest = child
    try:
        return dict(json.loads(repository.blob(manifest.config))["config"].get("Labels") or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _push_candidate(work: Work, target: Target, plan: Plan) -> Manifest | None:
    """Push the Engine's build as a candidate and read it back; None in a dry run."""
    image = find_built(work, plan)
    if image is None:
        raise _nothing_built(work, plan)
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
    return not plan.attested and plan.made(_labels(repository, manifest))


def _published_before(work: Work, plan: Plan, destination: Repository, taken: Mapping[str, str]) -> str:
    """The digest that all tags have already, from this very tree: a rerun, after the candidate was cleared away."""
    digests = set(taken.values())
    if len(digests) == 1 and (digest := next(iter(digests))):
        manifest = destination.manifest(digest)
        labels = _labels(destination, manifest) if manifest else {}
        if labels.get(TREE_LABEL) == plan.labels[TREE_LABEL] and labels.get(VARIANT_LABEL) == plan.variant:
            return digest
    raise _nothing_built(work, plan)


def _nothing_built(work: Work, plan: Plan) -> RegistryRefused:
    assert work.target is not None
    return RegistryRefused(
        f"nothing to publish: {work.target.candidates.repository} has no candidate {plan.variant}-{plan.key[:12]}…, "
        f"and this machine's Docker has no build of {plan.variant} at {work.source.short}",
        hint=f"run build-image --variant {plan.variant} first",
    )


def _require_unmoved(target: Target, destination: Repository, taken: Mapping[str, str], wanted: str) -> None:
    """Raise RegistryRefused where a tag has other bytes. `wanted` is a manifest's digest, or a local image's id."""
    for tag, has in taken.items():
        if not has or has == wanted or tag in target.moving_tags:
            continue
        manifest = destination.manifest(has)
        if manifest is None or manifest.config.digest != wanted:
            raise RegistryRefused(
                f"{target.image.repository}:{tag} is taken by {has}, and this is {wanted}: a published tag never moves",
                hint="publish under another tag by --tag, or make a new commit",
            )


def _write(
    work: Work,
    target: Target,
    manifest: Manifest | None,
    destination: Repository,
    tags: Sequence[str],
    along: Callable[[str], None],
) -> None:
    run = work.run
    if not tags:
        if manifest:
            along(manifest.digest)  # what came to be known of it since
        return
    told = manifest.digest if manifest else "the candidate"
    if run.would(f"take {told} from {target.candidates.repository} to {target.image.repository}"):
        for tag in tags:
            run.would(f"PUT /v2/{target.image.path}/manifests/{tag} at {target.image.host}")
        return
    assert manifest is not None
    with run.stage("promote", target.image.repository) as found:
        moved = promote(work.registries.repository(target.candidates), destination, manifest)
        along(manifest.digest)
        for tag in tags:
            set_tag(destination, tag, manifest)
        found.update(digest=manifest.digest, tags=list(tags), **vars(moved))
