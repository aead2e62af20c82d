"""Bars and lanes in SVG: by attributes alone, because Jenkins forbids styles, and told apart by shape, not colour.

Positions are per cent of the width, so that nothing is stretched on a narrow screen. The colours have enough contrast
on white as on black. All that a drawing shows is in the text beside it, so readers of the screen leave it out.
"""

from __future__ import annotations

from cdlib.report.html import Markup, tag
from cdlib.report.story import Lane

GOOD, BAD, BUSY = "#2e8b57", "#d1383d", "#3b7dd8"
_HEIGHT = 16
_LEAST = 0.4  # per cent: what took no time is still to be seen
# How high a pod stands, in parts: the nearer to serving, the higher.
_RISE = {"Pending": 0.15, "ContainerCreating": 0.35, "PodInitializing": 0.35, "Running": 0.65, "Ready": 1.0,
         "Succeeded": 1.0}  # fmt: skip
GONE = "gone"


def bar(start: float, end: float, whole: tuple[float, float], kind: str) -> Markup:
    """A bar from `start` to `end` on a scale that is `whole`; `kind` is good, bad, running, or time: only how long."""
    left, width = _place(start, end, whole)
    colour = {"good": GOOD, "bad": BAD}.get(kind, BUSY)
    dashes = {"bad": "2 2", "running": "6 3"}.get(kind)
    outline = {"stroke": colour, "stroke_width": 2, "stroke_dasharray": dashes} if dashes else {}
    filled = tag("rect", x=left, y=3, width=width, height=_HEIGHT - 6, fill=colour,
                 fill_opacity="0.35" if dashes else None, **outline)  # fmt: skip
    return _drawing(_ground(), filled)


def strip(state: str) -> Markup:
    """A line of the state's colour, across the page: for where there are no styles."""
    colour = {"good": GOOD, "bad": BAD}.get(state, BUSY)
    return tag("svg", tag("rect", width="100%", height=6, fill=colour), width="100%", height=6, aria_hidden="true",
               focusable="false")  # fmt: skip


def lane(pod: Lane, whole: tuple[float, float]) -> Markup:
    """One pod's states, as steps that rise until it is ready; what went wrong is dashed, and higher than all."""
    drawn = [_ground()]
    for start, end, state in periods(pod):
        if state == GONE:
            continue
        left, width = _place(start, end, whole)
        if state in _RISE:
            height = round(_HEIGHT * _RISE[state])
            colour = GOOD if _RISE[state] == 1.0 else BUSY
            drawn.append(tag("rect", x=left, y=_HEIGHT - height, width=width, height=height, fill=colour))
        else:
            drawn.append(tag("rect", x=left, y=1, width=width, height=_HEIGHT - 2, fill=BAD, fill_opacity="0.25",
                             stroke=BAD, stroke_width=2, stroke_dasharray="2 2"))  # fmt: skip
    return _drawing(*drawn)


def periods(pod: Lane) -> list[tuple[float, float, str]]:
    """From when to when the pod was in which state."""
    ends = [start for start, _ in pod.states[1:]] + [max(pod.end, pod.states[-1][0])]
    return [(start, end, state) for (start, state), end in zip(pod.states, ends, strict=True)]


def _place(start: float, end: float, whole: tuple[float, float]) -> tuple[str, str]:
    """Where it begins and how wide it is, in per cent; never wider than what there is."""
    length = max(whole[1] - whole[0], 1e-9)
    width = min(100.0, max(_LEAST, 100 * (end - start) / length))
    left = min(max(0.0, 100 * (start - whole[0]) / length), 100.0 - width)
    return f"{left:.2f}%", f"{width:.2f}%"


def _ground() -> Markup:
    return tag("line", x1="0", x2="100%", y1=_HEIGHT - 0.5, y2=_HEIGHT - 0.5, stroke="currentColor",
               stroke_opacity="0.3")  # fmt: skip


def _drawing(*shapes: Markup) -> Markup:
    return tag("svg", *shapes, width="100%", height=_HEIGHT, aria_hidden="true", focusable="false")
