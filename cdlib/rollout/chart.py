"""The chart and its values, as they go to Helm: fetched, checked, and each given a digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.network import is_loopback
from cdlib.reference import Reference
from cdlib.rollout.api import Object
from cdlib.rollout.helm import Helm
from cdlib.rollout.soak import longest_probe_soak
from cdlib.service import Deploy, ForeignChart
from cdlib.source import Source, contained, fetch_tree
from cdlib.target import Environment, Target

_HOOK = "helm.sh/hook"
# No ?, # or %: Helm would take the digest for a part of something else, and pull the newest chart.
_PINNED = re.compile(r"(oci://[^@?#%\s]+?)(?::[\w.+-]+)?@(sha256:[0-9a-f]{64})", re.ASCII)
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class Chart:
    """A chart on disk with its values files, later ones winning. The digests are `sha256:…` over their bytes."""

    folder: Path
    values: tuple[Path, ...]
    digest: str
    values_digest: str


@dataclass(frozen=True)
class Rendered:
    """What the chart makes of the values: the workloads to wait for, and the Services to ask.

    `probe_soak` is for how many seconds the workloads' own liveness probes ask to be watched.
    """

    workloads: tuple[tuple[str, str], ...]  # (kind, name)
    services: tuple[Object, ...]
    probe_soak: float = 0.0


@contextmanager
def prepare_chart(helm: Helm, source: Source, deploy: Deploy, target: Target, environment: Environment,
                  deadline: Deadline) -> Iterator[Chart]:  # fmt: skip
    """The service's chart and values, fetched by `deadline`, in a temporary folder for the time of the context."""
    with TemporaryDirectory(prefix="cd-chart-") as temporary, source.files() as files:
        folder = _chart_folder(helm, files, Path(temporary), deploy.chart, target, environment, deadline)
        values = tuple(contained(files, name, "deploy.values") for name in deploy.values)
        missing = [str(file) for file in environment.values if not file.is_file()]
        if missing:
            raise UsageProblem(
                f"values files of targets.yaml are missing: {', '.join(missing)}", hint="add them, or mend targets.yaml"
            )
        every = _copied((*values, *environment.values), Path(temporary))
        yield Chart(folder, every, _tree_digest(folder), _digest_of(file.read_bytes() for file in every))


def write_own_values(chart: Chart, deploy: Deploy, image: Reference, about: Mapping[str, str], folder: Path) -> Path:
    """The last values file: the image by digest, and what the deploy stands for, under `cd`.

    A file, not --set: Helm splits those at commas and reads braces.
    """
    values: dict[str, Any] = {"cd": dict(about)}
    for key, value in ((deploy.repository_key, image.repository), (deploy.digest_key, image.digest)):
        _put(values, key.split("."), value)
    file = folder / "cd-values.json"
    file.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return file


def check_rendered(objects: list[Object], image: Reference, environment: Environment) -> Rendered:
    """What to wait for and to ask. Raises UsageProblem where the chart does not do as cdlib needs.

    It must place everything in the environment's namespace, and run the image by its digest.
    """
    named = [o for o in objects if isinstance(o.get("metadata"), dict)]
    for o in named:
        elsewhere = o["metadata"].get("namespace") not in (None, "", environment.namespace)
        if elsewhere:
            raise UsageProblem(
                f"the chart puts {o.get('kind')} {o['metadata'].get('name')} into the namespace "
                f"{o['metadata']['namespace']!r}, not into {environment.namespace!r}",
                hint="leave metadata.namespace out of the templates",
            )
    wanted = f"{image.repository}@{image.digest}"
    if wanted not in {c for o in named if not _is_hook(o) for c in images_of(o)}:
        raise UsageProblem(
            f"nothing in the chart runs {wanted}",
            hint="use {{ .Values.image.repository }}@{{ .Values.image.digest }}, or name other keys in image_values",
        )
    return of_interest(named)


def of_interest(objects: list[Object]) -> Rendered:
    """The workloads and Services among a release's objects; hooks are Helm's own business."""
    plain = [o for o in objects if isinstance(o.get("metadata"), dict) and not _is_hook(o)]
    mine = [o for o in plain if o.get("kind") in WORKLOADS]
    workloads = tuple((str(o["kind"]), str(o["metadata"]["name"])) for o in mine)
    return Rendered(workloads, tuple(o for o in plain if o.get("kind") == "Service"), longest_probe_soak(mine))


def hook_events(o: Object) -> list[str]:
    """When Helm runs an object as a hook, such as pre-upgrade; empty for what is none."""
    said = str((o["metadata"].get("annotations") or {}).get(_HOOK) or "")
    return [event.strip() for event in said.split(",") if event.strip()]


def runs_at(o: Object, events: Iterable[str]) -> bool:
    """Whether Helm runs an object as a hook at one of these events."""
    return not set(events).isdisjoint(hook_events(o))


def _copied(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Copies under names of our own: Helm splits what it is given at commas, so a name could name other files."""
    copies = tuple(folder / f"values-{number}.yaml" for number in range(len(files)))
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())
    return copies


def _chart_folder(helm: Helm, files: Path, temporary: Path, chart: str | ForeignChart, target: Target,
                  environment: Environment, deadline: Deadline) -> Path:  # fmt: skip
    judged = environment.policy != "none"
    if isinstance(chart, ForeignChart):
        _require_allowed(chart.repository, target)
        folder = temporary / "chart"
        fetch_tree(chart.repository, chart.commit, chart.path, folder, deadline, on_branch=judged)
    elif chart.startswith("oci://"):
        _require_allowed(chart, target)
        name, version = _name_and_version(chart, pinned=judged)
        host = name.removeprefix("oci://").split("/", 1)[0]
        plain = is_loopback(host) or host in target.plain_http
        return helm.pull(name, version, temporary, deadline, plain_http=plain)
    else:
        folder = contained(files, chart, "deploy.chart")
    if not (folder / "Chart.yaml").is_file():
        raise UsageProblem(f"deploy.chart: {chart} has no Chart.yaml", hint="name the chart's folder")
    _refuse_links(folder)
    return folder


def _name_and_version(chart: str, *, pinned: bool) -> tuple[str, str]:
    """What Helm is to pull, by digest where one is given. Raises UsageProblem where none is, and one has to be.

    The newest chart, or whatever a tag points to, is for whoever pushes there to say, and nobody has reviewed it.
    """
    match = _PINNED.fullmatch(chart)
    if match:
        return f"{match[1]}@{match[2]}", ""
    if pinned:
        raise UsageProblem(
            f"deploy.chart: {chart} has no digest, so nobody can have reviewed what it stands for",
            hint="write it as oci://registry/chart:version@sha256:…; helm pull and helm push tell the digest",
        )
    tagged = ":" in chart.rsplit("/", 1)[-1] and "@" not in chart
    name, _, version = chart.rpartition(":") if tagged else (chart, "", "")
    return name, version


def _require_allowed(name: str, target: Target) -> None:
    odd = any(part in (".", "..") for part in name.split("/")) or "%" in name
    if odd or not any(name == prefix or name.startswith(prefix.rstrip("/") + "/") for prefix in target.allowed.charts):
        raise UsageProblem(
            f"deploy.chart: {name} is not among the charts that {target.service} may use",
            hint="add it under allow.charts in targets.yaml, or keep the chart in the service",
        )


def _refuse_links(folder: Path) -> None:
    """Helm follows links, so one out of the chart would read the operators' files into the cluster."""
    root = folder.resolve()
    for file in folder.rglob("*"):
        if file.is_symlink() and not _resolved(file).is_relative_to(root):
            raise UsageProblem(
                f"the chart's {file.relative_to(folder)} links outside the chart", hint="replace it by a file"
            )


def _resolved(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return Path("/")


def _tree_digest(chart: Path) -> str:
    files = [chart] if chart.is_file() else sorted(f for f in chart.rglob("*") if f.is_file())
    names = (os.fsencode(f.relative_to(chart)) if f != chart else b"" for f in files)
    modes = (b"x" if f.stat().st_mode & stat.S_IXUSR else b"-" for f in files)
    return _digest_of(part for n, m, f in zip(names, modes, files, strict=True) for part in (n, m, f.read_bytes()))


def _digest_of(parts: Iterator[bytes]) -> str:
    """One digest over several byte strings; lengths go in, so that no two lists collide."""
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(part)
    return f"sha256:{found.hexdigest()}"


def _put(values: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = value


def _is_hook(o: Object) -> bool:
    return _HOOK in (o["metadata"].get("annotations") or {})


def images_of(o: Object) -> list[str]:
    """The images of an object's containers, where it has any."""
    spec: Any = o.get("spec")
    inner = {"Pod": (), "CronJob": ("jobTemplate", "spec", "template", "spec")}.get(
        str(o.get("kind")), ("template", "spec")
    )
    for key in inner:
        spec = spec.get(key) if isinstance(spec, dict) else None
    lists = [spec.get(kind) or [] for kind in ("containers", "initContainers")] if isinstance(spec, dict) else []
    return [str(c.get("image")) for found in lists for c in found if isinstance(c, dict)]
