"""What tests of the loop share, as pytest fixtures. A `conftest.py` imports those that its tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import settings
from lab.layout import layout
from lab.loop import config
from lab.loop.actors import Author, Change, Loop, until
from lab.loop.places import Places
from lab.plan import read
from lab.testing import RunningLab, command


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The lab with its loop, brought up where it is not; it stays up afterwards, without the tests' projects."""
    done = command("up", "--loop", seconds=1800)
    assert done.ok, f"lab up --loop ended with status {done.returncode}: {done.stderr[-15:]}"
    place = layout()
    given = read(place.plan).given
    places = Places(place)
    env = {**settings.settings(place, given), **places.settings(given)}
    made = Loop(RunningLab(place, env), places)
    yield made
    for project in made.added:
        config.forget_project(made.places, project)


__all__ = ["Author", "Change", "Loop", "loop", "until"]
