"""A permit, as a rollout goes by it: spent once, gone on with only where a run was killed, and what runs compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from test_rollout_record import OneObject, entry, record

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Refused, UsageProblem
from cdlib.rollout.permit import Use, foreign_images, label, name_of_cluster, spend, unfinished
from cdlib.rollout.record import Record, Records

NONCE = "ab" * 16
LABEL = label(7, NONCE)
DIGEST, OTHER = ("sha256:" + letter * 64 for letter in "de")
USE = Use(7, NONCE, "permit", "https://jenkins.test/")


def release(cluster: Any) -> Any:
    events = SimpleNamespace(told=[])
    events.emit = lambda name, **fields: events.told.append((name, fields))
    run = SimpleNamespace(events=events, warnings=[])
    run.warn = run.warnings.append
    return SimpleNamespace(records=Records(cluster, "n", "hello", "hello"), run=run)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], True),
        ([("deploying", LABEL)], True),
        ([("interrupted", LABEL)], True),
        ([("verified", LABEL)], False),
        ([("failed", LABEL), ("verified", LABEL)], False),  # and taken back
        ([("interrupted", LABEL), ("verified", LABEL)], False),  # gone on with
        ([("verified", LABEL), ("deploying", "8-other")], False),
        ([("interrupted", "6-abababab")], True),
    ],
)
def test_a_permit_may_be_gone_on_with_until_its_run_has_ended(entries: list[tuple[str, str]], expected: bool) -> None:
    revisions = [entry(number, status, permit=permit) for number, (status, permit) in enumerate(entries, 1)]
    found = Record("hello", "hello", revisions, permit_sequence=7, permit_nonce=NONCE)
    assert unfinished(found) is expected


def test_it_is_spent_once() -> None:
    place = release(OneObject())
    seen = place.records.read(Deadline(5))
    spend(place, USE, seen, Deadline(5))
    after = place.records.read(Deadline(5))
    assert (after.permit_sequence, after.permit_nonce) == (7, NONCE)
    with pytest.raises(Refused, match="overtaken"):
        spend(place, USE, seen, Deadline(5))
    assert [name for name, _ in place.run.events.told] == ["permit"] and place.run.warnings == []


def test_of_two_that_were_judged_by_the_same_record_one_is_spent() -> None:
    cluster = OneObject()
    one, two = release(cluster), release(cluster)
    seen = [each.records.read(Deadline(5)) for each in (one, two)]
    spend(one, USE, seen[0], Deadline(5))
    with pytest.raises(Refused, match="overtaken"):
        spend(two, Use(7, "cd" * 16, "permit", "x"), seen[1], Deadline(5))


def test_what_is_gone_on_with_is_not_spent_again() -> None:
    place = release(OneObject())
    seen = place.records.read(Deadline(5))
    spend(place, Use(7, NONCE, "permit", "x", again=True), seen, Deadline(5))
    assert place.records.read(Deadline(5)).permit_sequence == 0


def test_break_glass_is_loud() -> None:
    place = release(OneObject())
    use = Use(7, NONCE, "break-glass", "eve", "the authorizer burns")
    spend(place, use, place.records.read(Deadline(5)), Deadline(5))
    assert use.note == "break-glass by eve: the authorizer burns" and "nobody has checked" in place.run.warnings[0]
    assert place.run.events.told[0][1]["kind"] == "break-glass"
    assert USE.note == ""


def pod(*running: str, init: str | None = None, image: str = f"r/hello@{DIGEST}") -> dict[str, Any]:
    names = [f"c{number}" for number, _ in enumerate(running)]
    found: dict[str, Any] = {
        "metadata": {"name": "hello-1"},
        "spec": {"containers": [{"name": name, "image": image} for name in names]},
        "status": {
            "containerStatuses": [{"name": n, "imageID": i} for n, i in zip(names, running, strict=True)],
        },
    }
    if init is not None:
        found["spec"]["initContainers"] = [{"name": "before", "image": image}]
        found["status"]["initContainerStatuses"] = [{"name": "before", "imageID": init}]
    return found


@pytest.mark.parametrize("running", [f"r/hello@{DIGEST}", f"docker-pullable://r/hello@{DIGEST}", DIGEST])
def test_what_runs_is_what_was_permitted(running: str) -> None:
    assert foreign_images(USE, "r/hello", DIGEST, [pod(running, init=running)]) == ()


def test_a_node_may_know_it_by_another_name() -> None:
    use = Use(7, NONCE, "permit", "x", aliases=lambda: frozenset({OTHER}))
    for running in (f"r/hello@{OTHER}", OTHER, f"docker://{OTHER}"):
        assert foreign_images(use, "r/hello", DIGEST, [pod(running)]) == ()


@pytest.mark.parametrize("running", [f"r/hello@{OTHER}", OTHER, "", "r/hello:latest"])
def test_something_else_that_runs_is_a_fault(running: str) -> None:
    good = f"r/hello@{DIGEST}"
    for wrong in (pod(good, running), pod(good, init=running)):
        (fault,) = foreign_images(USE, "r/hello", DIGEST, [pod(good), wrong])
        assert fault.reason == "ImageID" and fault.pod == "hello-1"


def test_containers_of_other_images_are_no_concern() -> None:
    assert foreign_images(USE, "r/hello", DIGEST, [pod(OTHER, image="r/proxy:1")]) == ()


def api(answer: Any) -> Any:
    def get(path: str, _deadline: Deadline) -> Any:
        assert path == "/api/v1/namespaces/hello"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(get=get, server="https://k.test")


def test_a_cluster_is_named_by_what_no_other_has() -> None:
    assert name_of_cluster(api({"metadata": {"uid": "u-1"}}), "hello", Deadline(5)) == "hello/u-1"
    with pytest.raises(UsageProblem, match="no namespace"):
        name_of_cluster(api(None), "hello", Deadline(5))
    with pytest.raises(NotAllowed, match="permits are told apart"):
        name_of_cluster(api(NotAllowed("no")), "hello", Deadline(5))


def test_the_record_of_an_older_version_is_read() -> None:
    assert record(entry(1)).permit_nonce == "" and unfinished(record(entry(1, permit="x")))
