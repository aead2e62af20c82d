"""Whether the image of an earlier revision can still be pulled, and what becomes of those that cannot."""

from __future__ import annotations

import pytest
from clusters import entry
from stand_ins import Fault, StandInRegistry

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable
from cdlib.image.published import image_lookup
from cdlib.reference import parse
from cdlib.rollout.images import ASKING, Images
from cdlib.run import Run
from cdlib.target import Allowed, Target

SOON = Deadline(30.0)


class Registry:
    """Has the images of some revisions; for others it is away."""

    def __init__(self, *there: int, away: tuple[int, ...] = ()) -> None:
        self.there = {entry(n).image for n in there}
        self.away = {entry(n).image for n in away}
        self.asked: list[tuple[str, float]] = []
        self.told: list[str] = []
        self.images = Images(self.has, self.told.append)

    def has(self, name: str, deadline: Deadline) -> bool:
        self.asked.append((name, deadline.seconds))
        if name in self.away:
            raise Unavailable("r does not answer")
        return name in self.there


def test_a_revision_whose_image_is_gone_is_passed_over_and_that_is_said() -> None:
    registry = Registry(1, 2)
    found = registry.images.newest([entry(3), entry(2), entry(1)], SOON)
    assert found is not None and found.revision == 2
    assert len(registry.told) == 1
    assert "revision 3" in registry.told[0] and entry(3).image in registry.told[0]


def test_where_none_is_left_there_is_no_target() -> None:
    assert Registry().images.newest([entry(2), entry(1)], SOON) is None


def test_a_registry_that_cannot_be_asked_does_not_stop_a_rollback_and_that_is_said() -> None:
    registry = Registry(1, away=(2,))
    found = registry.images.newest([entry(2), entry(1)], SOON)
    assert found is not None and found.revision == 2
    assert "r does not answer" in registry.told[0]


def test_each_image_is_asked_for_once_and_not_for_long() -> None:
    registry = Registry(1)
    for _ in range(2):
        registry.images.newest([entry(2), entry(1)], SOON)
    assert [name for name, _ in registry.asked] == [entry(2).image, entry(1).image]
    assert all(seconds <= ASKING for _, seconds in registry.asked)


def test_the_registry_is_asked_by_digest(registry: StandInRegistry) -> None:
    digest = registry.add_image("hello", "1")
    image = parse(f"{registry.host}/hello")
    soon = Deadline(30.0)
    has_image = image_lookup(Run("test", soon), Target("hello", "hello", image, image, (), Allowed(), frozenset()))
    assert has_image(str(image.at(digest)), soon)
    assert not has_image(str(image.at("sha256:" + "0" * 64)), soon)
    assert [s.method for s in registry.seen] == ["HEAD", "HEAD"], "no image is pulled for a question"
    registry.faults.append(Fault("HEAD", "/manifests/", 503))
    with pytest.raises(CdError):
        has_image(str(image.at(digest)), Deadline(1.0))
