"""What tests of several folders take: an empty registry, and signals that are given back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from stand_ins import StandInRegistry, serving

from cdlib.interruptions import INTERRUPTIONS


@pytest.fixture
def _signals() -> Iterator[None]:
    """A command that is called in here takes over signals; they are given back."""
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def registry() -> Iterator[StandInRegistry]:
    """An empty registry."""
    with serving(StandInRegistry()) as server:
        yield server
