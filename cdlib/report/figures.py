"""The sections that are drawn: where the time went, the way step by step, and the pods over time."""

from __future__ import annotations

from cdlib.report.drawing import bar, lane, periods
from cdlib.report.html import Markup, tag
from cdlib.report.parts import amount, cell, duration, figure, first, head, row, section, table
from cdlib.report.story import Lane, Story
from cdlib.report.timeline import CommandRun, Stage

STAGES, PODS, PERIODS = 400, 100, 40  # rows, pods, and states of a pod that a page shows at most
Scale = tuple[float, float]


def times(story: Story) -> Markup:
    """Where the time went."""
    whole = max(story.end - story.start, 1e-9)
    rows = [
        row(name, figure(f"{seconds:.2f}"), figure(f"{100 * seconds / whole:.1f}\u00a0%"),
            cell(bar(0, seconds, (0, whole), "time"), class_="drawn bar"))
        for name, seconds in story.shares()
    ]  # fmt: skip
    heads = (head("Activity"), amount("Seconds"), amount("Share"), head("Drawn", "bar"))
    return section("Where the time went", table(f"{duration(whole)} in all.", heads, rows))


def way(story: Story, share: float) -> Markup:
    """Every command and its stages, on one scale of time."""
    scale = (story.start, story.end)
    steps = [(run, stage, judged) for run in story.runs for judged in [run.judged] for stage in (None, *run.stages)]
    shown, left = first(steps, STAGES, share)
    rows = [
        _stage(story, run, stage, scale, judged=stage is judged) if stage else _run(story, run, scale)
        for run, stage, judged in shown
    ]
    caption = "Begins is in seconds from the start. A bar that is dashed did not end well, or has not ended."
    heads = (head("Command and stage"), amount("Begins"), amount("Seconds"), head("Ended"), head("Drawn", "bar"))
    return section("The way, step by step", table(caption, heads, rows), left)


def _run(story: Story, run: CommandRun, scale: Scale) -> Markup:
    state = "running" if run in story.open else ("good" if run.exit_code == 0 else "bad")
    outcome = run.outcome if run.end is not None else ("running" if state == "running" else "no end")
    code = f" ({run.exit_code})" if run.exit_code else ""
    return row(tag("strong", run.command), figure(f"{run.start - story.start:.1f}"),
               figure(f"{run.last - run.start:.2f}"), cell(outcome + code, class_="word"),
               cell(bar(run.start, run.last, scale, state), class_="drawn bar"))  # fmt: skip


def _stage(story: Story, run: CommandRun, stage: Stage, scale: Scale, *, judged: bool) -> Markup:
    outcome, state = ("judged a failure", "bad") if judged else _ended(story, run, stage)
    end = run.last if stage.end is None else stage.end
    about = f" {stage.about}" if stage.about else ""
    return row(tag("small", f"{stage.name}{about}"[:120]), figure(f"{stage.start - story.start:.1f}"),
               figure(f"{end - stage.start:.2f}"), cell(outcome, class_="word"),
               cell(bar(stage.start, end, scale, state), class_="drawn bar"), class_="inner")  # fmt: skip


def _ended(story: Story, run: CommandRun, stage: Stage) -> tuple[str, str]:
    """How a stage ended, in a word, and as what it is drawn."""
    if stage.end is None:
        return ("running", "running") if run in story.open else ("no end", "bad")
    return stage.outcome, "good" if stage.outcome == "ok" else "bad"


def pods(story: Story, share: float) -> Markup | None:
    """The pods of the rollout over time."""
    lanes, left = first(story.lanes(), PODS, share)
    if not lanes:
        return None
    scale = (min(each.states[0][0] for each in lanes), max(each.end for each in lanes))
    rows = [
        row(each.pod, figure(each.restarts), cell(lane(each, scale), _states(each, share), class_="lanes"))
        for each in lanes
    ]
    caption = (
        f"{duration(scale[1] - scale[0])} from the first pod that was seen. A lane rises as its pod comes up, is full "
        "while it is ready, and dashed where something is wrong."
    )
    return section("Pods over time", table(caption, (head("Pod"), amount("Restarts"), head("States")), rows), left)


def _states(pod: Lane, share: float) -> Markup:
    """The same in words."""
    found = [f"{state} {duration(end - start)}" if state != "gone" else state for start, end, state in periods(pod)]
    shown, _ = first(found, PERIODS, share)
    more = f", and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return tag("div", ", ".join(shown) + more)
