"""Pulling an image: which failures only a person mends, which mend themselves, and how often it was tried."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cdlib.rollout.api import Object
from cdlib.rollout.causes import FAILED_PULLS, NEVER, REFUSED_PULLS, Cause, Place, before_and_since, counted
from cdlib.rollout.happenings import Happenings

WAITING = ("ErrImagePull", "ImagePullBackOff")
TRIED = "Failed to pull image"
PULLED = "Successfully pulled image"
# Seconds after the first failure by which there was a second, third and fourth: 10, 20 and 40 s and up to 15 s each
# until the kubelet looks at the pod again. Only used where Events cannot be read.
RHYTHM = (17.0, 45.0, 97.0)

_PLATFORM = re.compile(r"no match for platform", re.I)
_REFUSED = re.compile(
    r"not found|notfound|manifest unknown|\b40[134]\b|unauthorized|forbidden|denied|authorization failed"
    r"|insufficient_scope|does not exist", re.I
)  # fmt: skip
_SURELY_PASSING = re.compile(r"no such host|connection refused|timeout|timed out|\b50[0234]\b|\b429\b|\bEOF\b", re.I)
_NOISE = re.compile(
    r"^Back-off pulling image \"[^\"]*\":\s*|ErrImagePull:\s*|rpc error: code = \w+ desc = "
    r"|Error response from daemon: |failed to pull and unpack image \"[^\"]*\": "
    r"|failed to resolve reference \"[^\"]*\": "
)
# Names, which may hold any of those words: quoted text, whatever has a slash, hosts, and what was asked for.
_NAMES = re.compile(r'"[^"]*"|\S*/\S*|\bhost \S+|\[[^\]]*\]')
_IMAGE = re.compile(r'"([^"/]+)/[^"]*"')


@dataclass
class Pulls:
    """What is remembered of one container's pulls."""

    failing: bool = False
    entered: int = 0  # how often the state turned to ErrImagePull; each is one more try at least
    since: float = 0.0
    said: str = ""

    def see(self, reason: str, message: str, now: float) -> None:
        """Take in the reason and message that the container waits for."""
        if reason == "ErrImagePull" and not self.failing:
            self.entered += 1
            self.since = self.since or now
        self.failing = reason == "ErrImagePull"
        if reason in WAITING and (plain := explained(message)):
            self.said = plain


@dataclass
class Pulled:
    """When an image was last pulled from each registry, by our own clock: a registry that serves others is up."""

    last: dict[str, float] = field(default_factory=dict)

    def see(self, message: str, now: float) -> None:
        """Take in the message of an Event."""
        if message.startswith(PULLED) and (image := _IMAGE.search(message)):
            self.last[image.group(1)] = now


def explained(message: str) -> str:
    """The part of a pull's message that says why; empty where it says nothing."""
    plain = _NOISE.sub("", _NOISE.sub("", message)).strip()
    return "" if plain.startswith("Back-off pulling image") else plain


def pull_cause(
    place: Place, status: Object, pulls: Pulls, told: Happenings, pulled: Pulled, now: float
) -> Cause | None:
    """Why the image of a container is not there, or None where it is not the image that is waited for."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason = str(waiting.get("reason", ""))
    pulls.see(reason, str(waiting.get("message", "")), now)
    before, new = told.count(place.uid, place.container, "Failed", TRIED)
    if reason not in WAITING and not (before + new and reason in ("ContainerCreating", "PodInitializing")):
        return None
    pulls.since = pulls.since or now
    said = pulls.said or _said(place, told)
    limit, spared = _limit(said, str(status.get("image", "")), pulls, pulled)
    seen = max(pulls.entered, 1 if told.readable else _by_time(now - pulls.since))
    after = counted(max(before_and_since(before, new, limit), seen), limit) if said and not spared else NEVER
    tries = max(before + new, seen)
    times = f"tried {tries} time{'s' if tries > 1 else ''}"
    more = f" of {limit}" if after == NEVER and tries < limit else ""
    return place.cause("pull", "ImagePull", f"its image cannot be pulled ({times}{more}): {said or reason}", after)


def _limit(said: str, image: str, pulls: Pulls, pulled: Pulled) -> tuple[int, bool]:
    """After how many tries it is a failure, and whether it is spared: others get theirs from there, so will this."""
    if _PLATFORM.search(said):
        return 1, False
    said = _NAMES.sub("", said)
    if _REFUSED.search(said) and not _SURELY_PASSING.search(said):
        return REFUSED_PULLS, False
    return FAILED_PULLS, pulled.last.get(image.split("/", 1)[0], -1.0) >= pulls.since


def _said(place: Place, told: Happenings) -> str:
    """What the Event says, where the state does not yet: it comes 0.1 to 0.7 s later."""
    for h in told.about(place.uid):
        if h.container == place.container and h.reason == "Failed" and h.message.startswith(TRIED):
            return explained(re.sub(r'^Failed to pull image "[^"]*": ', "", h.message))
    return ""


def _by_time(seconds: float) -> int:
    return 1 + sum(seconds >= limit for limit in RHYTHM)
