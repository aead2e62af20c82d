"""The queue: what waits for an executor, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.jenkins.store import Value

WAITING, BLOCKED, BUILDABLE, LEFT = "waiting", "blocked", "buildable", "left"


@dataclass
class Item:
    """One item. Times are seconds since the epoch; `number` is the build's that it became."""

    id: int
    job: str
    parameters: dict[str, Value]
    secret: list[str]
    user: str
    due: float
    since: float
    state: str = WAITING
    why: str | None = None
    stuck: bool = False
    cancelled: bool = False
    number: int | None = None
    left_at: float = 0.0


class Queue:
    """Items in their order. Who calls holds the controller's lock."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._items: dict[int, Item] = {}
        self._next = 1

    def add(self, job: str, parameters: dict[str, Value], secret: list[str], user: str, delay: float) -> Item:
        """A new item, or the one that waits for the same: Jenkins makes one build of both."""
        for there in self.waiting():
            if there.job == job and there.parameters == parameters:
                return there
        now = time.time()
        item = Item(self._next, job, parameters, secret, user, now + delay, now)
        item.why = f"In the quiet period. Expires in {delay:.1f} sec"
        self._items[item.id] = item
        self._next += 1
        return item

    def waiting(self) -> Iterator[Item]:
        """What has not left yet, the oldest first."""
        yield from [item for item in self._items.values() if item.state != LEFT]

    def get(self, number: int) -> Item | None:
        """The item, unless it left too long ago."""
        for item in list(self._items.values()):
            if item.state == LEFT and time.time() - item.left_at > self._memory:
                del self._items[item.id]
        return self._items.get(number)

    def leave(self, item: Item, number: int | None) -> None:
        """Let it go, to build `number`, or cancelled."""
        item.state, item.left_at, item.number, item.cancelled = LEFT, time.time(), number, number is None
        item.why, item.stuck = None, False

    def save(self, file: Path) -> None:
        """Keep what waits over a clean stop."""
        kept = [asdict(item) for item in self.waiting()]
        file.write_text(json.dumps({"next": self._next, "items": kept}))

    def load(self, file: Path) -> None:
        """Find what a clean stop kept. After a kill there is nothing, and ids begin at 1 again."""
        if file.exists():
            document = json.loads(file.read_text())
            self._items = {entry["id"]: Item(**entry) for entry in document["items"]}
            self._next = document["next"]
            file.unlink()
