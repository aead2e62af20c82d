"""Lists of objects, taken apart as Helm takes them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cdlib.errors import UsageProblem
from cdlib.rollout.api import Object

MOST = 20_000  # objects of a chart, and lists of them; Helm's record of as many would not fit into a Secret


def flat(found: Iterable[Object]) -> Iterator[Object]:
    """The objects, and in place of each list what it holds, lists in it as well; in order.

    To apimachinery, by which Helm reads them, a list is whatever has a list of `items`, whatever its kind says
    (unstructured.IsList), and what it holds without a kind of its own is of the list's: a Deployment in a
    DeploymentList. Raises UsageProblem where there is no end to it: by an alias, a list in YAML can hold itself.
    """
    waiting = [*found][::-1]
    for _ in range(MOST):
        if not waiting:
            return
        o = waiting.pop()
        items = o.get("items")
        if isinstance(items, list):
            waiting += [_of_kind(item, o) for item in reversed(items) if isinstance(item, dict)]
        else:
            yield o
    raise UsageProblem(
        f"the chart renders to more than {MOST} objects and lists", hint="split it, or mend a list that holds itself"
    )


def _of_kind(item: Object, within: Object) -> Object:
    """An item with the kind that it has by its list, where it has none."""
    kind = str(within.get("kind") or "").removesuffix("List")
    return item if item.get("kind") or not kind else {**item, "kind": kind, "apiVersion": within.get("apiVersion")}
