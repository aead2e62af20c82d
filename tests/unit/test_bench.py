"""What benchmarks make of what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import trust
from bench.watching import whole_since
from cdlib.errors import CdError
from lab.observer import Seen


def pod(at: float, name: str, revision: str, *, ready: bool = True, gone: bool = False) -> Seen:
    conditions = [{"type": "Ready", "status": str(ready)}]
    spec = {"containers": [{"env": [{"name": "REVISION", "value": revision}]}]}
    return Seen(at, gone, {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}})


BEFORE = [pod(1, "a", "old"), pod(1, "b", "old")]
BROKEN = pod(11, "c", "new", ready=False)


@pytest.mark.parametrize(
    ("seen", "answers", "since"),
    [
        (BEFORE, [], 10),
        ([*BEFORE, BROKEN], [], None),
        ([*BEFORE, BROKEN, pod(15, "c", "new", gone=True)], [], 15),
        ([*BEFORE, pod(12, "b", "old", gone=True)], [], None),
        ([*BEFORE, pod(12, "b", "old", gone=True), pod(14, "d", "old", ready=False), pod(16, "d", "old")], [], 16),
        (BEFORE, [(9, ""), (11, "old")], 10),
        (BEFORE, [(11, "old"), (12, ""), (13, "old")], 12),
        (BEFORE, [(11, "old"), (12, "new")], None),
    ],
    ids=["never touched", "a broken pod is left", "the broken pod is gone", "one pod is missing", "its successor is ready",
         "what was before does not count", "the service was away", "the service answers otherwise"],
)  # fmt: skip
def test_since_when_the_old_version_is_whole(
    seen: list[Seen], answers: list[tuple[float, str]], since: float | None
) -> None:
    assert whole_since(seen, answers, "old", 2, began=10) == since


@pytest.mark.parametrize(
    ("places", "good"),
    [({"r:5000": 1}, True), ({"r:5000": 1, "elsewhere:443": 1}, False), ({}, False), ({"elsewhere:443": 1}, False)],
)
def test_a_check_that_connects_elsewhere_than_to_the_registry_is_no_result(
    places: dict[str, int], good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_kind: str, _file: Path) -> dict[str, Any]:
        return {"seconds": 0.2, "connections": places}

    monkeypatch.setattr(trust, "measure", measured)
    if good:
        assert trust.row("permit", Path(), {"r:5000"})[1:] == ("0.200", "0.200-0.200", "1", "at most 0.3 s", "met")
    else:
        with pytest.raises(CdError, match="has connected to"):
            trust.row("permit", Path(), {"r:5000"})
