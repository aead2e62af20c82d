"""What a chart hides in lists is seen as Helm sees it: by apimachinery, whatever has a list of items is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdlib.errors import UsageProblem
from cdlib.reference import Reference
from cdlib.rollout import lists
from cdlib.rollout.chart import check_rendered
from cdlib.rollout.helm_answers import objects

IMAGE = Reference("r.test", "hello", digest="sha256:" + "a" * 64)
PLACE = cast(Any, SimpleNamespace(namespace="mine"))
PLAIN = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: plain}}
spec: {{template: {{spec: {{containers: [{{name: web, image: "{IMAGE}"}}]}}}}}}
"""
HIDDEN = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: hidden, namespace: NAMESPACE}, spec: {}}"
KINDLESS = "{metadata: {name: hidden, namespace: NAMESPACE}, spec: {}}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{apiVersion: v1, kind: List, items: [{HIDDEN}]}}",
        f"{{apiVersion: apps/v1, kind: DeploymentList, items: [{HIDDEN}]}}",
        f"{{apiVersion: apps/v1, kind: DeploymentList, items: [{KINDLESS}]}}",
        f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: x}}, items: [{HIDDEN}]}}",
        f"{{apiVersion: v1, kind: List, items: [{{apiVersion: v1, kind: List, items: [{HIDDEN}]}}]}}",
    ],
    ids=["List", "DeploymentList", "without a kind of its own", "called otherwise", "a list in a list"],
)
def test_what_lies_in_a_list_is_watched_and_kept_in_its_namespace(text: str) -> None:
    found = objects(f"{PLAIN}---\n{text.replace('NAMESPACE', 'mine')}\n")
    assert check_rendered(found, IMAGE, PLACE).workloads == (("Deployment", "plain"), ("Deployment", "hidden"))
    assert found[1]["apiVersion"] == "apps/v1"
    with pytest.raises(UsageProblem, match="Deployment hidden into the namespace 'kube-system'"):
        check_rendered(objects(f"{PLAIN}---\n{text.replace('NAMESPACE', 'kube-system')}\n"), IMAGE, PLACE)


def test_what_has_other_items_is_no_list() -> None:
    assert [o["kind"] for o in objects("{kind: A, metadata: {name: a}, items: {b: c}}")] == ["A"]
    assert objects("{kind: List, items: []}\n---\n{kind: List, items: [1, x, null, [2]]}\n") == []


@pytest.mark.parametrize(
    "text",
    ["&a {kind: List, items: [*a]}", "&a {kind: List, items: [*a, *a]}"],
)
def test_a_list_without_an_end_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST", 1000)
    with pytest.raises(UsageProblem, match="more than 1000 objects"):
        objects(text)


def test_a_bomb_of_aliases_is_refused() -> None:
    """A few lines that stand for ten to the power of nine objects."""
    lines = ["- &l0 {kind: List, items: []}"]
    lines += [f"- &l{n} {{kind: List, items: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    with pytest.raises(UsageProblem, match="more than"):
        objects("kind: List\nitems:\n" + "\n".join(lines))
