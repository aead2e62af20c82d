"""The sections in words: the cause, what it was about, the tests, and what was said on the way."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, unquote

from cdlib.report.html import Markup, joined, link, tag
from cdlib.report.parts import amount, cell, figure, first, head, row, section, table, value
from cdlib.report.story import SAID, Story
from cdlib.report.timeline import at, text

DETAILS, TESTS, NOTES = 200, 200, 300  # lines, tests and notes that a page shows at most
# What is shown of a result: its key, the words for it, and the name of the link that leads to it.
_FACTS = (
    ("service", "Service", ""), ("environment", "Environment", ""), ("namespace", "Namespace", ""),
    ("release", "Release", ""), ("revision", "Revision", ""), ("commit", "Commit", "commit"),
    ("failed_commit", "Commit that failed", "commit"), ("failed_revision", "Revision that failed", ""),
    ("rolled_back_to", "Rolled back to revision", ""), ("previous", "Commit before", "commit"),
    ("digest", "Digest", ""), ("image", "Image", ""), ("tag", "Tag", ""), ("approvers", "Approvers", ""),
    ("permit", "Permit", ""), ("sequence", "Number of the permit", ""), ("hold", "On hold", ""),
    ("attested", "Attested", ""), ("drift", "Drift that was mended", ""),
)  # fmt: skip


def cause(story: Story, share: float) -> Markup | None:
    """What went wrong, what proves it, and what to do next: before all else."""
    if story.state != "bad":
        return None
    message, hint, details = text(story.error, "message"), text(story.error, "hint"), story.error.get("details")
    lines, left = first(details if isinstance(details, list) else [], DETAILS, share)
    # One child a line, so that each has a length of its own.
    proof = tag("pre", *(joined(line, "\n") for line in lines), wrap="") if lines else None
    return section(
        "Cause",
        tag("p", tag("strong", story.cause)),
        tag("p", message) if message and message != story.cause else None,
        proof,
        left,
        _evidence(story),
        tag("p", tag("strong", "Next: "), hint, class_="next") if hint else None,
    )


def _evidence(story: Story) -> Markup | None:
    """Links to the files beside the page."""
    files = [tag("li", tag("a", unquote(path), href=f"./{path}")) for path in story.evidence[:DETAILS]]
    return joined(tag("p", "Evidence that was kept:"), tag("ul", *files)) if files else None


def facts(story: Story) -> Markup | None:
    """What it was about."""
    rows = list(_trigger(story))
    for key, words, target in _FACTS:
        found = story.result.get(key)
        if found not in (None, "", [], {}):
            base = story.links.get(target, "")
            rows.append(
                (words, link(base + quote(str(found), errors="replace"), value(found)) if base else value(found))
            )
    about = tag("tbody", *(row(words, cell(said)) for words, said in rows))
    return section("What it was about", tag("table", about, class_="facts", cellpadding=4)) if rows else None


def _trigger(story: Story) -> Iterator[tuple[str, Markup]]:
    """Who asked, and where."""
    for name, words in (("change", "Change"), ("pipeline", "Pipeline"), ("build", "Build"), ("who", "Asked by")):
        url = story.links.get(name, "")
        if said := story.about.get(name) or (url if name == "build" else ""):
            yield words, link(url, said)


def tests(story: Story, share: float) -> Markup | None:
    """How many tests ran to which end, and which failed."""
    counts = story.counts()
    if not counts:
        return None
    line = f"{counts['passed']} of {counts['total']} passed, {counts['failed']} failed, {counts['skipped']} skipped."
    failures, left = first(story.tests.failures, TESTS, share)
    unreadable, _ = first(story.tests.unreadable, TESTS, share)
    listed = [tag("li", tag("code", failure)) for failure in failures]
    listed += [tag("li", f"{name} is no JUnit file, or too large") for name in unreadable]
    return section("Tests", tag("p", line), tag("ul", *listed) if listed else None, left)


def said(story: Story, share: float) -> Markup | None:
    """What the commands said on the way."""
    told = sorted(story.events(*SAID), key=lambda pair: at(pair[1]))
    shown, left = first(told, NOTES, share)
    rows = [
        tag("tr", figure(f"{at(event) - story.start:.1f}"), cell(run.command, class_="word"),
            cell(event["event"], class_="word"), cell(text(event, SAID[event["event"]])))
        for run, event in shown
    ]  # fmt: skip
    heads = (amount("Begins"), head("Command"), head("Kind"), head("Text"))
    return section("What was said on the way", table("In seconds from the start.", heads, rows), left) if rows else None
