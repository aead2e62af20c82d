"""What Helm 3 and 4 leave and print: revisions, the objects of a chart, and why something failed, by its own words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cdlib.errors import NotAllowed, UsageProblem
from cdlib.process import Finished
from cdlib.rollout.api import Object
from cdlib.rollout.lists import flat

# How Helm says that the API server was not there: by itself, or as Go's HTTP client does.
_AWAY = re.compile(
    r"cluster unreachable|(Get|Post|Put|Patch|Delete) \"https?://[^\"]+\": .*"
    r"(connection refused|connection reset|connection lost|EOF|handshake timeout|no route to host|i/o timeout)"
)
# How the API server says that it cannot do it just now: a webhook or etcd did not answer, or it has too much to do.
# What it quotes from a chart has its own quotation marks escaped.
_PASSING = re.compile(
    r"failed calling webhook \"[^\"\\]+\": |conversion webhook for .* failed: "
    r"|etcdserver: (leader changed|request timed out|no leader|too many requests|server stopped|unhealthy cluster)"
    r"|unable to handle the request|unable to return a response in the time allotted|asked us to try again later"
    r"|Timeout: request did not complete|resource quota evaluation timed out"
)
_NOT_ALLOWED = re.compile(r"\bforbidden:|unauthorized|asked for the client to provide credentials", re.I)
_BUSY = re.compile(r"another operation \(install/upgrade/rollback\) is in progress|release: already exists")
_CONFLICT = "conflict occurred while applying object"


@dataclass(frozen=True)
class HelmRevision:
    """One revision as Helm's own records have it; `status` is deployed, failed, pending-upgrade, …

    `uid` and `created` (RFC 3339) are those of the record itself: after an uninstall, the numbers begin at 1 again.
    """

    revision: int
    status: str
    uid: str = ""
    created: str = ""

    @property
    def pending(self) -> bool:
        """Whether a Helm was, or still is, at work on it."""
        return self.status.startswith("pending-") or self.status == "uninstalling"


def revisions(stored: Iterable[Object]) -> list[HelmRevision]:
    """The revisions that Helm's own records stand for, by their labels alone, oldest first."""
    known = []
    for meta in (each["metadata"] for each in stored):
        label, created = meta.get("labels", {}), str(meta.get("creationTimestamp", ""))
        known.append(HelmRevision(int(label["version"]), str(label["status"]), str(meta["uid"]), created))
    return sorted(known, key=lambda each: each.revision)


def applied(done: Finished) -> tuple[int, list[Object]]:
    """The revision that `helm upgrade --output=json` says it made, and its objects; 0 and none where it says nothing.

    What was applied may differ from what `helm template` rendered: a chart can look things up in the cluster.
    """
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
        return int(answer.get("version", 0)), objects(str(answer.get("manifest") or ""))
    except (ValueError, AttributeError, RecursionError):
        return 0, []


def reason(done: Finished) -> str:
    """What Helm says why it failed, in one line. Helm 3 says `1 error occurred:` first, and what it was below that."""
    lines = [line.strip() for line in done.stderr if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("Error:")]
    said = lines[errors[-1] if errors else -1 :] or [f"it ended with status {done.returncode}"]
    return " ".join(said).removeprefix("Error: ")[:600]


def away(why: str) -> bool:
    """Whether Helm failed because the API server was not there."""
    return bool(_AWAY.search(why)) and not passes(why) and not not_allowed(why)


def passes(why: str) -> bool:
    """Whether Helm failed over something that may be over in a moment, such as a webhook that did not answer."""
    return bool(_PASSING.search(why))


def not_allowed(why: str) -> bool:
    """Whether Helm failed for want of a right."""
    return bool(_NOT_ALLOWED.search(why))


def may_not(why: str) -> NotAllowed:
    """The error of a Helm that was forbidden something."""
    return NotAllowed(f"Helm may not: {why}", hint="give the deploy credentials that right")


def busy(why: str) -> bool:
    """Whether Helm refused, before it wrote anything, because another Helm is at work on the release."""
    return bool(_BUSY.search(why))


def in_conflict(why: str) -> bool:
    """Whether Helm 4 failed because somebody else has set a field since."""
    return _CONFLICT in why


def objects(text: str) -> list[Object]:
    """The objects in a stream of YAML documents, those in lists too. Raises UsageProblem."""
    import yaml

    # libyaml bears no more than some 30,000 levels; Helm has refused what has more than 10,000.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = [o for o in yaml.load_all(text, Loader=loader) if isinstance(o, dict)]
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise UsageProblem(f"the chart renders to no valid YAML: {problem}", hint="mend the template") from problem
    return [o for o in flat(found) if _is_object(o)]


def _is_object(o: Any) -> bool:
    """Whether it has the shape that everything else relies on; the API server would refuse any other."""
    meta = o.get("metadata") if isinstance(o, dict) else None
    named = isinstance(meta, dict) and isinstance(meta.get("name"), str) and isinstance(o.get("kind"), str)
    parts = [o.get("spec"), meta.get("annotations")] if named and isinstance(meta, dict) else [""]
    return all(part is None or isinstance(part, dict) for part in parts)
