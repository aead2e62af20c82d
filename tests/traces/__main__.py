"""Print which rollouts are called failures, at which second, and why: the table of docs/verdicts.md."""

from __future__ import annotations

from tests.traces.corpus import BROKEN, HARMLESS, UNDECIDED
from tests.traces.replay import play, recorded


def main() -> None:
    """Play every case once, unchanged."""
    print("| broken rollout | called after | by | because |\n|---|---|---|---|")
    for name, case in BROKEN.items():
        played = play(case.tape(), case.there, start=case.start)
        fault = played.faults[0]
        said = fault.message if len(fault.message) < 100 else fault.message[:97] + "…"
        print(f"| {name} | {played.called:.1f} s | {case.within:g} s | {said.replace('|', chr(92) + '|')} |")
    print("\n| harmless | complete after |\n|---|---|")
    for name, harmless in HARMLESS.items():
        played = play(harmless.tape(), harmless.there, start=harmless.start, on=40.0)
        assert not played.faults, (name, played.faults)
        print(f"| {name} | {played.complete:.1f} s |")
    print("\n| left to the time limit | waits for |\n|---|---|")
    for name in UNDECIDED:
        played = play(recorded(name), start=0.4)
        waits = played.waiting[0].partition(": ")[2] if played.waiting else "the Job still runs"
        print(f"| {name} | {waits} |")


main()
