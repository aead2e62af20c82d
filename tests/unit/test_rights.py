"""Accounts, roles and admission policies: each has what it needs, where it needs it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdlib.errors import UsageProblem
from cdlib.rollout.rights import rights
from cdlib.target import read_targets
from jobs.cd_rights import main

TARGETS = """\
version: 1
environments: {production: {}, staging: {}}
services:
  hello:
    image: registry.example.org/hello
    environments: {production: {namespace: hello, release: hello}, staging: {namespace: try, release: hello}}
  other:
    image: registry.example.org/other
    environments: {production: {namespace: hello, release: second}}
"""
READ = {"get", "list", "watch"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    return tmp_path / "targets.yaml"


def named(objects: list[Any], kind: str, name: str, namespace: str = "") -> Any:
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"], o["metadata"].get("namespace", "")) == (
        kind, name, namespace)]  # fmt: skip
    return found


def grants(role: Any) -> Iterator[tuple[str, str]]:
    for rule in role["rules"]:
        yield from ((verb, resource) for resource in rule["resources"] for verb in rule["verbs"])


def test_every_account_is_bound_in_its_namespaces_and_nowhere_else(file: Path) -> None:
    objects = rights(read_targets(file))
    kinds = {o["kind"] for o in objects}
    assert "ClusterRole" not in kinds and "ClusterRoleBinding" not in kinds
    bound = {(o["metadata"]["namespace"], o["roleRef"]["name"], s["name"], s["namespace"])
             for o in objects if o["kind"] == "RoleBinding" for s in o["subjects"]}  # fmt: skip
    places = {("hello", "production"), ("try", "staging")}
    account = {"deploy": "deploy", "chart": "deploy", "authorize": "authorize", "status": "status"}
    assert bound == {(namespace, f"cd-{role}-{environment}", f"cd-{who}-{environment}", "cd-accounts")
                     for namespace, environment in places for role, who in account.items()}  # fmt: skip
    for o in (o for o in objects if o["kind"] == "RoleBinding"):
        assert named(objects, "Role", o["roleRef"]["name"], o["metadata"]["namespace"])
    assert {o["metadata"]["namespace"] for o in objects if o["kind"] == "ServiceAccount"} == {"cd-accounts"}


def test_nobody_may_do_everything_or_more_than_is_said_here(file: Path) -> None:
    objects = rights(read_targets(file))
    every = {o["metadata"]["name"]: set(grants(o)) for o in objects if o["kind"] == "Role"}
    assert "<" not in json.dumps(list(objects)).replace("<=", ""), "everything is filled in"
    for allowed in every.values():
        assert not {"*", "bind", "escalate", "impersonate", "deletecollection"} & {verb for verb, _ in allowed}
        assert not {"*", "roles", "rolebindings", "pods/exec", "pods/attach", "serviceaccounts/token"} & {
            resource for _, resource in allowed
        }
    assert every["cd-authorize-production"] == {("get", "namespaces"), ("get", "configmaps")}
    assert every["cd-status-production"] == {("list", "configmaps"), ("list", "leases")}
    secret = {verb for verb, resource in every["cd-deploy-production"] if resource == "secrets"}
    assert secret == {"get", "list", "create", "update", "delete"}
    role = named(objects, "Role", "cd-authorize-production", "hello")
    assert [rule["resourceNames"] for rule in role["rules"]] == [["hello"], ["cd-hello", "cd-second"]]


def test_the_images_of_all_services_of_a_namespace_may_run_in_it(file: Path) -> None:
    targets = read_targets(file)

    def allowed(namespace: str, **more: Any) -> list[str]:
        policy = named(rights(targets, **more), "ValidatingAdmissionPolicy", f"cd-images-{namespace}")
        found: list[str] = json.loads(policy["spec"]["variables"][0]["expression"])
        return found

    both = ["registry.example.org/hello", "registry.example.org/other"]
    assert allowed("hello") == allowed("hello", service="hello") == allowed("hello", environment="production") == both
    assert allowed("try") == both[:1]
    assert allowed("try", images=["r.test/x", "envoy:1"]) == ["docker.io/library/envoy", "r.test/x", both[0]]
    binding = named(rights(targets), "ValidatingAdmissionPolicyBinding", "cd-images-hello")
    assert binding["spec"]["validationActions"] == ["Deny"]
    labels = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "hello"}


def test_only_what_is_asked_for(file: Path) -> None:
    names = {o["metadata"].get("namespace", "") for o in rights(read_targets(file), "staging")}
    assert names == {"", "cd-accounts", "try"}
    assert rights(read_targets(file), service="other") != []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"environment": "none"}, "no service goes to an environment"),
        ({"accounts": "hello"}, "a chart's pods could bear their names"),
        ({"accounts": "Not A Name"}, "no name of a namespace"),
        ({"images": ["'] || true || ['"]}, "is no image name"),
    ],
)
def test_what_cannot_be(file: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        rights(read_targets(file), **more)


@pytest.mark.usefixtures("_signals")
def test_it_prints_what_kubectl_takes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main.main(["-C", str(tmp_path), "--targets", str(file), *more])
        return int(caught.value.code or 0), capsys.readouterr().out

    code, text = run()
    assert code == 0 and list(yaml.safe_load_all(text)) == rights(read_targets(file)), "nothing of it is hidden"
    assert json.loads(run("--json")[1])["objects"] == rights(read_targets(file))
    assert run("--service", "none")[0] == 2
