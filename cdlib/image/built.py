"""Images that have been built: what the Engine has of a service."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cdlib.image.plan import Plan
from cdlib.image.work import Work


@dataclass(frozen=True)
class Built:
    """An image in the Engine. `unchanged` where it was there already; `id` is empty in a dry run."""

    variant: str
    id: str
    key: str
    name: str
    dirty: bool
    builder: str
    unchanged: bool

    def as_dict(self) -> dict[str, Any]:
        """For the result."""
        fields = {**asdict(self), "reference": self.name}
        return {name: value for name, value in fields.items() if name != "name"}


def find_built(work: Work, plan: Plan) -> Built | None:
    """The image that the Engine has for `plan`, if any."""
    image = work.engine.image(plan.local_name)
    if image is None or not plan.made(image.labels):
        return None
    return Built(plan.variant, image.id, plan.key, plan.local_name, plan.dirty, "", unchanged=True)
