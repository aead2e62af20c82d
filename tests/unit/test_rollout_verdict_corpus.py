"""Every recorded and scripted rollout: broken ones are called in time and by their cause, harmless ones never."""

from __future__ import annotations

import random

import pytest

from tests.traces.corpus import BROKEN, HARMLESS, NOTHING_SEEN, SEEN, UNDECIDED
from tests.traces.replay import jittered, play, recorded
from tests.traces.scripted import IMAGE

SEEDS = range(8)


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(BROKEN) >= 24
    assert len(HARMLESS) >= 20
    assert len(HARMLESS) * len(SEEDS) >= 200


# What must not end a rollout, as it was asked for, and what stands for it here.
ASKED_FOR = {
    "a pull that fails once": "first pull fails",
    "one restart": "one restart",
    "a slow start inside its probes' allowance": "slow start",
    "an eviction": "a new pod evicted",
    "an eviction of an old pod": "a new pod deleted, an old one evicted",
    "a drained node": "a new pod's node is drained",
    "autoscaling in the middle": "scaled in the middle",
    "an autoscaler that adds a node": "autoscaler adds a node",
    "an old unhealthy pod that dies meanwhile": "old version crash-looping",
    "a webhook that times out once": "webhook times out once",
    "the same, of a StatefulSet": "StatefulSet: webhook times out once, slow start",
}


def test_each_kind_of_trouble_that_was_asked_for_is_there() -> None:
    assert set(ASKED_FOR.values()) <= HARMLESS.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rollout_is_called_in_time_and_by_its_cause(name: str) -> None:
    case = BROKEN[name]
    played = play(case.tape(), case.there, start=case.start)
    assert played.faults, played.waiting
    fault = played.faults[0]
    assert fault.reason == case.reason
    assert case.says in fault.message
    assert fault.pod or fault.about
    assert played.called is not None and played.called <= case.within


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rollout_is_called_on_slower_days_too(name: str) -> None:
    case = BROKEN[name]
    for seed in SEEDS:
        rng = random.Random(f"{name} {seed}")
        tape = jittered(case.tape(), rng)
        played = play(tape, case.there, start=case.start + rng.uniform(0.0, 1.5), missed=lambda r=rng: r.random() < 0.3)
        assert played.faults, (seed, played.waiting)
        assert played.faults[0].reason == case.reason, seed
        assert played.called is not None and played.called <= case.within * 1.1 + 4.5, seed


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_trouble_ends_no_rollout(name: str) -> None:
    case = HARMLESS[name]
    played = play(case.tape(), case.there, start=case.start, on=60.0)
    assert played.faults == ()
    assert played.complete is not None


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_trouble_ends_no_rollout_on_other_days(name: str) -> None:
    case = HARMLESS[name]
    for seed in SEEDS:
        rng = random.Random(f"{name} {seed}")
        tape = jittered(case.tape(), rng)
        played = play(tape, case.there, start=case.start + rng.uniform(0.0, 2.0),
                      missed=lambda r=rng: r.random() < 0.3, on=30.0)  # fmt: skip
        assert played.faults == (), seed
        assert played.complete is not None, seed


@pytest.mark.parametrize("name", NOTHING_SEEN)
def test_what_is_complete_without_having_run_shows_nothing(name: str) -> None:
    played = play(NOTHING_SEEN[name]())
    assert played.complete is not None
    assert not played.shown


@pytest.mark.parametrize("name", SEEN)
def test_what_has_run_or_shall_not_run_shows_its_image(name: str) -> None:
    played = play(SEEN[name]())
    assert played.complete is not None
    assert played.shown == {IMAGE}


def test_no_pod_is_blamed_for_a_deployment_that_is_paused() -> None:
    (fault,) = play(BROKEN["paused, and an old pod crashes"].tape()).faults
    assert (fault.pod, fault.about) == ("", "Deployment web")


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_may_still_come_is_left_to_the_time_limit(name: str) -> None:
    played = play(recorded(name), start=0.4, on=60.0)
    assert played.faults == ()
    assert name == "job-hang" or played.waiting


def test_three_crashes_without_an_allowance_are_a_failure_although_the_fourth_start_would_have_worked() -> None:
    """Nothing tells this rollout from one that crashes for ever; the startup probe is where a service says so."""
    assert play(recorded("h-restart3")).faults[0].reason == "CrashLoop"


def test_a_progress_deadline_is_a_contract() -> None:
    assert play(recorded("h-late-pds15")).faults[0].reason == "ProgressDeadlineExceeded"
