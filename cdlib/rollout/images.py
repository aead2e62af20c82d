"""Whether the image of an earlier revision can still be pulled: without it, going back there helps nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.record import Revision

ASKING = 5.0  # seconds for one image: a registry that is away must not keep a rollback waiting

# Whether the registry has the image of this name, which has a digest. Raises CdError where it cannot be asked.
HasImage = Callable[[str, Deadline], bool]


class Images:
    """The images of a release's revisions, each asked for once in a run. `warn` is told what is gone or unknown.

    Where the registry cannot be asked, what the record says has to do: the node may have the image, and an old
    version that might come up is better than a broken one that is there.
    """

    def __init__(self, has_image: HasImage, warn: Callable[[str], None]) -> None:
        self._has_image, self._warn = has_image, warn
        self._known: dict[str, bool] = {}

    def newest(self, candidates: Iterable[Revision], deadline: Deadline) -> Revision | None:
        """The first of the candidates whose image is not gone, None where there is none."""
        for entry in candidates:
            if self.there(entry, deadline):
                return entry
        return None

    def there(self, entry: Revision, deadline: Deadline) -> bool:
        """Whether the image can be pulled, as far as can be told: of what others have made it may not be known."""
        if not entry.image:
            return True
        if entry.image not in self._known:
            self._known[entry.image] = self._ask(entry, deadline)
        return self._known[entry.image]

    def _ask(self, entry: Revision, deadline: Deadline) -> bool:
        try:
            found = self._has_image(entry.image, deadline.part(ASKING, "asking the registry for an image"))
        except CdError as problem:
            self._warn(f"whether {entry.image} is still there cannot be asked, and is believed: {problem.message}")
            return True
        if not found:
            self._warn(f"revision {entry.revision} cannot be gone back to: the registry has no {entry.image} any more")
        return found
