"""Publishing: a candidate is promoted by digest to where deploys take it from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cdlib.errors import NotAllowed, RegistryRefused, Unavailable, UsageProblem
from cdlib.image.candidate import (
    candidate_of,
    candidate_of_tree,
    find_local,
    nothing_built,
    publishing_target,
    push_candidate,
)
from cdlib.image.plan import TREE_LABEL, VARIANT_LABEL
from cdlib.image.promote import promote, set_tag
from cdlib.image.published import Published
from cdlib.image.work import Work
from cdlib.reference import TAG
from cdlib.registry.manifest import Manifest
from cdlib.registry.repository import Repository
from cdlib.target import Target


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
    the commit's own tag also gets those that targets.yaml lists as moving; a variant other than the deployed one has
    its name at the end of its own tag, and moves none. `along` brings what belongs to a digest,
    before a tag points to it; `require` raises where a digest may not be published. Raises RegistryRefused where
    another tag would have to move.
    """
    target = publishing_target(work)
    deployed = variant == work.service.deploy.variant
    own = work.source.default_tag if deployed else f"{work.source.default_tag}-{variant}"
    wanted = _tags(tags or [own])
    destination = work.registries.repository(target.image)
    taken = {tag: destination.digest(tag) for tag in wanted}
    manifest, local = _found(work, target, variant)
    if not manifest and not local:
        digest = _published_before(work, variant, destination, taken)
        return Published(target.image.repository, wanted[0], digest, unchanged=True)
    _require_unmoved(target, destination, taken, manifest.digest if manifest else local)
    require(manifest.digest if manifest else local)
    if manifest is None and (manifest := push_candidate(work, target, work.plan(variant))):
        require(manifest.digest)
    new = [tag for tag in wanted if manifest is None or taken[tag] != manifest.digest]
    fixed = [tag for tag in new if tag not in target.moving_tags]
    others = (
        [tag for tag in target.moving_tags if tag not in wanted] if deployed and moving and fixed and not tags else []
    )
    # The tag that deploys look for comes last: whoever finds it finds everything.
    every = [*others, *(tag for tag in new if tag not in fixed), *reversed(fixed)]
    _write(work, target, manifest, destination, every, along)
    return Published(target.image.repository, wanted[0], manifest.digest if manifest else "", unchanged=not new)


def publish_permitted(work: Work, digest: str, along: Callable[[str], None]) -> Published:
    """Promote exactly `digest`, which somebody has permitted to be deployed, under the commit's own tag; no other tag
    moves. An image of another tree gets a tag of its own, for the commit's would be that image forever.

    Raises RegistryRefused where there is no such candidate, or the tag is taken.
    """
    target = publishing_target(work, by_hand=True)
    destination = work.registries.repository(target.image)
    places = (destination, work.registries.repository(target.candidates))
    holder, manifest = next(((place, found) for place in places if (found := place.manifest(digest))), (None, None))
    if holder is None or manifest is None:
        raise RegistryRefused(
            f"neither {target.image.repository} nor {target.candidates.repository} has {digest}",
            hint="the permit is for another image; let the gate build one, and have that permitted",
        )
    tag = work.source.default_tag
    if holder.labels(manifest).get(TREE_LABEL) != work.source.tree:
        tag = f"break-glass-{digest.removeprefix('sha256:')[:12]}"
        work.run.warn(f"{digest[:19]} is of another tree than {work.source.short}, whose own tag stays free: "
                      f"it becomes {tag}; deploy it by helm-deploy --digest {digest}")  # fmt: skip
    taken = {tag: destination.digest(tag)}
    _require_unmoved(target, destination, taken, digest)
    new = [tag] if taken[tag] != digest else []
    _write(work, target, manifest, destination, new, along)
    return Published(target.image.repository, tag, digest, unchanged=not new)


def _tags(tags: Sequence[str]) -> list[str]:
    for tag in tags:
        if not TAG.match(tag):
            raise UsageProblem(
                f"{tag!r} is no tag", hint="a tag has letters, digits, '_', '.' and '-', 128 characters at most"
            )
    return list(dict.fromkeys(tags))


def _found(work: Work, target: Target, variant: str) -> tuple[Manifest | None, str]:
    """The candidate to publish, or else the id of a local build of the very bases of now.

    Where a policy asks for proofs it is what the gate has made of the tree: a base image that moved since, or whose
    registry does not answer, changes nothing about it. Elsewhere something newer, which somebody has built on purpose,
    comes first.
    """
    known = candidate_of_tree(work, target, variant)
    if known and target.strictest_policy != "none":
        return known, ""
    try:
        plan = work.plan(variant)
    except (Unavailable, NotAllowed) as problem:
        if known is None:
            raise
        work.run.warn(f"{problem.message}; going on with the candidate {known.digest[:19]} of the same tree")
        return known, ""
    newest = candidate_of(work, target, plan)
    local = "" if newest else find_local(work, plan)
    return newest or (None if local else known), local


def _published_before(work: Work, variant: str, destination: Repository, taken: Mapping[str, str]) -> str:
    """The digest that all tags have already, from this very tree: a rerun, after the candidate was cleared away."""
    digests = set(taken.values())
    if len(digests) == 1 and (digest := next(iter(digests))):
        manifest = destination.manifest(digest)
        labels = destination.labels(manifest) if manifest else {}
        if labels.get(TREE_LABEL) == work.source.tree and labels.get(VARIANT_LABEL) == variant:
            return digest
    raise nothing_built(work, work.plan(variant))


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
