"""targets.yaml: what the operators say of clusters, registries and policy. It never comes from a change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdlib.documents import LARGEST, explained, mistakes, read_yaml
from cdlib.errors import UsageProblem
from cdlib.given import given_text
from cdlib.reference import Reference, parse
from cdlib.review_policy import Gerrit, ReviewPolicy, parse_gerrit, parse_review
from cdlib.service import Verify, parse_verify
from cdlib.units import seconds

VARIABLE = "CD_TARGETS"
DEFAULT_BUDGET = 180.0  # seconds; the mission gives five minutes for everything from +2 to serving
DEFAULT_POLICY = "reviewed"  # a file that forgets the policy must not mean that there is none


@dataclass(frozen=True)
class Allowed:
    """What a service may do beyond the default."""

    test_network: bool = False
    frontends: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """One place that a service is deployed to. `budget` in seconds; `kubeconfig` None means the usual one."""

    name: str
    namespace: str
    release: str
    values: tuple[Path, ...]
    url: str
    kubeconfig: Path | None
    context: str | None
    policy: str
    budget: float
    inconclusive: str
    verify: Verify
    delete_stuck_pods: bool = False


@dataclass(frozen=True)
class Target:
    """Where one service goes, as the operators allow it."""

    service: str
    project: str
    image: Reference
    candidates: Reference
    moving_tags: tuple[str, ...]
    allowed: Allowed
    plain_http: frozenset[str]
    environments: Mapping[str, Environment] = field(default_factory=dict)
    keys: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # files of public keys, by what they may say
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    gerrit: Gerrit | None = None
    review: ReviewPolicy | None = None

    @property
    def strictest_policy(self) -> str:
        """The strictest policy of the service's environments: what publishing has to satisfy."""
        order = ("none", "reviewed", "signed")
        return max((e.policy for e in self.environments.values()), key=order.index, default=DEFAULT_POLICY)

    def policy(self, environment: str) -> dict[str, Any]:
        """All of targets.yaml that this service in `environment` is held to, for a digest."""
        apart = ("services", "environments")
        service = self.document["services"][self.service]
        return {
            **{name: value for name, value in self.document.items() if name not in apart},
            "environment": self.document["environments"][environment],
            "service": {**service, "environments": service["environments"][environment]},
            "name": [self.service, environment],
        }

    def environment(self, name: str) -> Environment:
        """The environment `name`; an empty name means the only one. Raises UsageProblem otherwise."""
        known = ", ".join(sorted(self.environments))
        if not name and len(self.environments) == 1:
            return next(iter(self.environments.values()))
        if name not in self.environments:
            what = f"no environment {name!r}" if name else "several environments"
            raise UsageProblem(f"{self.service} has {what} in targets.yaml", hint=f"choose by --environment: {known}")
        return self.environments[name]


def read_target(path: Path | None, service: str) -> Target:
    """The target of `service` in the file that --targets or CD_TARGETS names.

    Raises UsageProblem where no file is named, it cannot be read, or it has mistakes (all of them at once).
    """
    document = read_document(path)
    assert path is not None
    return target_in(document, path, service)


def read_targets(path: Path | None, service: str = "") -> list[Target]:
    """The targets of all services in the file, or that of one. Raises as `read_target`."""
    document = read_document(path)
    assert path is not None
    return [target_in(document, path, each) for each in ([service] if service else document["services"])]


def target_in(document: dict[str, Any], path: Path, service: str) -> Target:
    """The target of `service` in what `read_document` has read from `path`. Raises UsageProblem where it has none."""
    entry = document["services"].get(service)
    if entry is None:
        known = ", ".join(sorted(document["services"])) or "none"
        raise UsageProblem(f"{path} knows no service {service!r}", hint=f"add it there; it has: {known}")
    image = parse(entry["image"], f"{path}: services.{service}.image")
    candidates = entry.get("candidates") or f"{image.host}/candidates/{image.path}"
    allow = entry.get("allow", {})
    return Target(
        service=service,
        project=entry.get("project", service),
        image=image,
        candidates=parse(candidates, f"{path}: services.{service}.candidates"),
        moving_tags=tuple(entry.get("moving_tags", ())),
        allowed=Allowed(
            allow.get("test_network", False),
            tuple(allow.get("frontends", ())),
            tuple(allow.get("charts", ())),
        ),
        plain_http=frozenset(host for host, more in document.get("registries", {}).items() if more.get("plain_http")),
        environments={name: _environment(path, document, name, e) for name, e in entry["environments"].items()},
        keys={
            purpose: tuple(path.resolve().parent / file for file in files)
            for purpose, files in document.get("keys", {}).items()
        },
        document=document,
        gerrit=parse_gerrit(document.get("gerrit"), path.resolve().parent),
        review=parse_review(entry.get("review")),
    )


def read_document(path: Path | None) -> dict[str, Any]:
    """The whole of targets.yaml, without its mistakes, or UsageProblem with all of them."""
    if path is None:
        raise UsageProblem(
            "no targets.yaml: it says where services go, and the operators own it",
            hint=f"name it by --targets FILE or {VARIABLE}=FILE; {explained('targets')}",
        )
    text = given_text(path, "targets file", hint=f"check --targets and {VARIABLE}", most=LARGEST)
    document = read_yaml(text, str(path), "targets")
    missing = [
        f"services.{service}.environments.{name}: no such environment; there are {', '.join(document['environments'])}"
        for service, entry in document["services"].items()
        for name in entry["environments"]
        if name not in document["environments"]
    ]
    if missing:
        raise UsageProblem(f"{path} has {mistakes(missing)}", details=missing, hint="add them under environments")
    return document


def _environment(path: Path, document: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> Environment:
    shared, folder = document["environments"][name], path.resolve().parent
    kubeconfig = shared.get("kubeconfig")
    return Environment(
        name=name,
        namespace=entry["namespace"],
        release=entry["release"],
        values=tuple(folder / value for value in entry.get("values", ())),
        url=entry.get("url", "").rstrip("/"),
        kubeconfig=folder / os.path.expanduser(kubeconfig) if kubeconfig else None,
        context=shared.get("context"),
        policy=shared.get("policy", DEFAULT_POLICY),
        budget=seconds(shared["budget"]) if "budget" in shared else DEFAULT_BUDGET,
        inconclusive=shared.get("inconclusive", "rollback"),
        verify=parse_verify(shared.get("verify", {})),
        delete_stuck_pods=shared.get("delete_stuck_pods", False),
    )
