"""By which digests a node may know a permitted image, as the registry has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from permitted import Place, place, signers, template
from stand_ins import OCI, sha

from cdlib.deadline import Deadline
from cdlib.rollout.permit import Use, foreign_images

__all__ = ["place", "signers", "template"]


@pytest.fixture
def known(place: Place) -> dict[str, str]:
    """An image of two platforms, the parts of it, and images that are none of it, by digest."""
    registry = place.registry
    amd, arm, other = (registry.add_image("t/web", text, text=text) for text in ("amd", "arm", "other"))
    manifest = json.loads(registry.manifests["t/web"][amd][1])
    again = {**manifest, "annotations": {"compressed": "anew"}}
    return {
        "index": registry.add_index("t/web", "all", [amd, arm]),
        "platform": arm,
        "configuration": manifest["config"]["digest"],
        "other manifest": registry.put("t/web", "again", OCI, json.dumps(again).encode()),
        "other image": other,
        "unknown": sha(b"unknown"),
    }


@pytest.mark.parametrize(
    ("running", "foreign"),
    [
        ("index", False),
        ("platform", False),
        ("configuration", False),
        ("other manifest", False),
        ("other image", True),
        ("unknown", True),
    ],
)
def test_what_a_node_names_is_looked_up(place: Place, known: dict[str, str], running: str, foreign: bool) -> None:
    permits = place.permits()
    image = permits.target.image.at(known["index"])
    pod: dict[str, Any] = {
        "metadata": {"name": "web-1"},
        "spec": {"containers": [{"name": "web", "image": str(image)}]},
        "status": {"containerStatuses": [{"name": "web", "imageID": f"r/web@{known[running]}"}]},
    }
    use = Use(1, "n", "permit", "me", aliases=permits._aliases)
    assert [fault.reason for fault in foreign_images(use, image, [pod], Deadline(10))] == ["ImageID"] * foreign
