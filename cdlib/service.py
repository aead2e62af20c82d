"""cd.yaml: what the service's developers say of building, testing and verifying it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cdlib.documents import read_yaml
from cdlib.errors import UsageProblem
from cdlib.source import Source
from cdlib.units import memory, seconds

FILE = "cd.yaml"


@dataclass(frozen=True)
class HttpCheck:
    """One request and the answer that it must get."""

    path: str
    status: int = 200
    contains: str = ""
    service: str = ""
    port: int | str = ""


@dataclass(frozen=True)
class Verify:
    """When a rollout that is complete counts as good.

    `soak` in seconds; None means that it comes from the probes' own numbers, and 0 that there is none.
    """

    http: tuple[HttpCheck, ...] = ()
    helm_test: bool = False
    soak: float | None = None

    def on_top_of(self, floor: Verify) -> Verify:
        """These checks and the floor's: a service may add, never take away."""
        http = dict.fromkeys((*floor.http, *self.http))
        named = [soak for soak in (self.soak, floor.soak) if soak is not None]
        return Verify(tuple(http), self.helm_test or floor.helm_test, max(named, default=None))


@dataclass(frozen=True)
class Image:
    """How the image is built. `variants` maps each variant to a stage, or to a variant of blubber.yaml."""

    dockerfile: str = "Dockerfile"
    blubber: str = ""
    variants: Mapping[str, str] = field(default_factory=lambda: {"test": "test", "production": "production"})
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Test:
    """How the tests run. `memory` in bytes, `time` in seconds; no `command` means the image's own."""

    __test__ = False
    variant: str = "test"
    command: tuple[str, ...] = ()
    reports: str = "/reports"
    network: str = "none"
    memory: int = 512 * 2**20
    cpus: float = 1.0
    time: float = 300.0
    processes: int = 256


@dataclass(frozen=True)
class ForeignChart:
    """A chart in another git repository: `path` at `commit`."""

    repository: str
    commit: str
    path: str


@dataclass(frozen=True)
class Deploy:
    """What is deployed, and how it is verified. `chart` is a folder, an oci:// name, or a ForeignChart."""

    variant: str = "production"
    chart: str | ForeignChart = "chart"
    values: tuple[str, ...] = ()
    repository_key: str = "image.repository"
    digest_key: str = "image.digest"
    verify: Verify = Verify()


@dataclass(frozen=True)
class Service:
    """A service as its cd.yaml describes it."""

    name: str
    image: Image
    test: Test
    deploy: Deploy

    def variant(self, name: str) -> str:
        """The stage (or blubber variant) of variant `name`. Raises UsageProblem where there is none."""
        try:
            return self.image.variants[name]
        except KeyError:
            known = ", ".join(sorted(self.image.variants))
            raise UsageProblem(f"{self.name} has no variant {name!r}", hint=f"it has {known}") from None

    def build_configuration(self, variant: str) -> str:
        """A digest over all of cd.yaml that decides what `variant` is built from, but not the tree itself."""
        chosen = [self.image.dockerfile, self.image.blubber, self.variant(variant), dict(self.image.args)]
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def read_service(source: Source) -> Service:
    """The service in `source`. Raises UsageProblem with every mistake in its cd.yaml."""
    return parse_service(source.read_text(FILE, "the service"))


def parse_service(text: str) -> Service:
    """The service that a cd.yaml's text describes."""
    document = read_yaml(text, FILE, "cd")
    return Service(
        name=document["service"],
        image=_image(document.get("image", {})),
        test=_test(document.get("test", {})),
        deploy=_deploy(document.get("deploy", {})),
    )


def parse_verify(section: Mapping[str, Any]) -> Verify:
    """The `verify` section of cd.yaml, or of targets.yaml."""
    return Verify(
        http=tuple(HttpCheck(**check) for check in section.get("http", ())),
        helm_test=section.get("helm_test", False),
        soak=seconds(section["soak"]) if "soak" in section else None,
    )


def _image(section: Mapping[str, Any]) -> Image:
    default = Image()
    return Image(
        dockerfile="" if "blubber" in section else section.get("dockerfile", default.dockerfile),
        blubber=section.get("blubber", ""),
        variants=section.get("variants", default.variants),
        args=section.get("args", {}),
    )


def _test(section: Mapping[str, Any]) -> Test:
    default, limits = Test(), section.get("limits", {})
    return Test(
        variant=section.get("variant", default.variant),
        command=tuple(section.get("command", ())),
        reports=section.get("reports", default.reports),
        network=section.get("network", default.network),
        memory=memory(limits["memory"]) if "memory" in limits else default.memory,
        cpus=float(limits.get("cpus", default.cpus)),
        time=seconds(limits["time"]) if "time" in limits else default.time,
        processes=limits.get("processes", default.processes),
    )


def _deploy(section: Mapping[str, Any]) -> Deploy:
    default, keys = Deploy(), section.get("image_values", {})
    chart = section.get("chart", default.chart)
    return Deploy(
        variant=section.get("variant", default.variant),
        chart=ForeignChart(**chart) if isinstance(chart, dict) else chart,
        values=tuple(section.get("values", ())),
        repository_key=keys.get("repository", default.repository_key),
        digest_key=keys.get("digest", default.digest_key),
        verify=parse_verify(section.get("verify", {})),
    )
