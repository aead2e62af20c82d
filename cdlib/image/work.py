"""What the three image commands work with: the source, both files, the Engine and the registries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cdlib.documents import prepare, read_all
from cdlib.image.engine import Engine
from cdlib.image.plan import Plan, make_plan
from cdlib.registry.repository import Registries
from cdlib.run import Run
from cdlib.service import Service, read_service
from cdlib.source import Source, open_source
from cdlib.target import Target, read_document, target_in


@dataclass
class Work:
    """One service at one commit. `target` is None where no targets.yaml was given.

    `attested` is set where a step signs what it does, before anything is planned.
    """

    run: Run
    source: Source
    service: Service
    target: Target | None = None
    attested: bool = False
    _plans: dict[str, Plan] = field(default_factory=dict)

    @cached_property
    def engine(self) -> Engine:
        """The Docker Engine, not connected before it is needed."""
        return Engine(self.run.deadline)

    @cached_property
    def registries(self) -> Registries:
        """The registries, as the operators have them spoken to."""
        return Registries(self.run, self.target.plain_http if self.target else frozenset())

    def plan(self, variant: str) -> Plan:
        """What is to be built for `variant`, found out once."""
        if variant not in self._plans:
            with self.run.stage("plan", variant) as found:
                plan = make_plan(
                    self.run, self.source, self.service, self.target, variant, self.registries, self.engine
                )
                found["key"] = plan.key
            self._plans[variant] = replace(plan, attested=self.attested)
        return self._plans[variant]


def open_work(
    run: Run, folder: Path, targets: Path | None, *, with_changes: bool = False, need_target: bool = False
) -> Work:
    """Read the service in `folder` and its target, all mistakes in both files at once.

    `with_changes` takes uncommitted changes along. Without `targets` there is no target, and nothing that only
    operators may allow; with `need_target` that is a mistake.
    """
    source = open_source(folder, with_changes=with_changes, meanwhile=prepare, deadline=run.deadline)
    if targets is None and not need_target:
        return Work(run, source, _told(run, read_service(source)))
    service, document = read_all(lambda: read_service(source), lambda: read_document(targets))
    assert targets is not None
    target = target_in(document, targets, service.name)  # only then is the name one that operators know
    return Work(run, source, _told(run, service), target)


def _told(run: Run, service: Service) -> Service:
    run.about["service"] = service.name
    return service
