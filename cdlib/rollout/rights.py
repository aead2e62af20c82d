"""What each of our accounts may do in a cluster, and which images may run there, as objects for `kubectl apply`.

The objects are in cdlib/manifests, with names to be filled in: a person can read there what is granted, and why.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from cdlib.errors import UsageProblem
from cdlib.reference import parse
from cdlib.rollout.api import Object
from cdlib.rollout.board import Spot, spots
from cdlib.rollout.records import name_of
from cdlib.target import Target

ACCOUNTS = "cd-accounts"  # the namespace of the accounts
_ROLES = ("deploy", "chart", "authorize", "status")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"<([a-z]+)>")


def rights(targets: Sequence[Target], environment: str = "", service: str = "", *, accounts: str = ACCOUNTS,
           images: Collection[str] = ()) -> list[Object]:  # fmt: skip
    """Accounts, roles and admission policies for the releases of `targets`, or of one environment or service.

    `images` are repositories that may run beside those of the services. Where several services share a namespace, the
    images of all of them may run in it, since a policy is the namespace's. Raises UsageProblem for what is unknown.
    """
    taken = {place.namespace for target in targets for place in target.environments.values()}
    if accounts in taken or not _LABEL.fullmatch(accounts):
        raise UsageProblem(
            f"the accounts cannot lie in {accounts!r}: a chart's pods could bear their names there"
            if accounts in taken
            else f"{accounts!r} is no name of a namespace",
            hint="give them a namespace of their own by --accounts",
        )
    beside = [parse(name, "an image that may run").repository for name in images]
    wanted = [spot for spot in spots(targets, environment) if service in ("", spot.service)]
    found: dict[tuple[str, str, str], Object] = {}
    for o in _every(targets, wanted, accounts, beside):
        found[str(o["kind"]), str(o["metadata"].get("namespace", "")), str(o["metadata"]["name"])] = o
    return list(found.values())


def _every(targets: Sequence[Target], wanted: Sequence[Spot], accounts: str, beside: Sequence[str]) -> Iterator[Object]:
    releases = defaultdict[tuple[str, str], list[Spot]](list)
    for spot in wanted:
        releases[spot.environment.name, spot.environment.namespace].append(spot)
    for (environment, namespace), here in releases.items():
        facts = {"environment": environment, "namespace": namespace, "accounts": accounts,
                 "records": sorted(name_of(spot.environment.release) for spot in here),
                 "repositories": json.dumps(sorted({*_repositories(targets, namespace), *beside}))}  # fmt: skip
        for name in ("accounts", *_ROLES, "images"):
            yield from _filled(name, facts)


def _repositories(targets: Sequence[Target], namespace: str) -> set[str]:
    """The images of every service that has a release in a namespace of that name."""
    places = [(target.image, place) for target in targets for place in target.environments.values()]
    return {image.repository for image, place in places if place.namespace == namespace}


def _filled(name: str, facts: Mapping[str, Any]) -> list[Object]:
    """The objects of a manifest, with `<name>` replaced by what the facts say, after it was read: nothing is parsed."""
    import yaml

    text = resources.files("cdlib").joinpath("manifests", f"{name}.yaml").read_text(encoding="utf-8")

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fill(each) for each in value]
        if not isinstance(value, str):
            return value
        whole = _NAME.fullmatch(value)
        return facts[whole[1]] if whole else _NAME.sub(lambda found: str(facts[found[1]]), value)

    return [fill(o) for o in yaml.safe_load_all(text)]
