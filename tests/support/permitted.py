"""A service in an environment that asks for reviews, with all that its permits need: made once, and copied.

Gerrit's records, git and the envelopes are real; the registry and the cluster are stand-ins.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import OneObject, entry
from notedb import ACCOUNTS, SID, Branch, Change, World
from planted import watch
from signing import Signers, new_signers
from stand_ins import StandInRegistry, serving

from cdlib.deadline import Deadline
from cdlib.errors import Refused
from cdlib.image.work import Work, open_work
from cdlib.promotion.authorizing import authorize_deploy
from cdlib.promotion.issuing import Seal
from cdlib.promotion.permits import Permits
from cdlib.reference import Reference
from cdlib.registry.repository import Registries, Repository
from cdlib.rollout.chart import prepare_chart
from cdlib.rollout.helm import Helm
from cdlib.rollout.images import Images
from cdlib.rollout.permit import Use
from cdlib.rollout.record import Record
from cdlib.rollout.records import Records
from cdlib.run import Run
from cdlib.target import read_target
from cdlib.trigger import Trigger
from cdlib.trust.attached import Attestation, attach
from cdlib.trust.predicates import Provenance, TestResult
from cdlib.trust.predicates import Work as Done
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement

CHART = {"chart/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n", "chart/templates/x.yaml": "{}\n",
         "values.yaml": "text: zero\n", "cd.yaml": "service: web\ndeploy: {values: [values.yaml]}\n"}  # fmt: skip
GATE = "postmerge"


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return new_signers(tmp_path_factory.mktemp("keys"))


@dataclass
class Place:
    """A service in an environment that asks for reviews."""

    base: Path
    signers: Signers
    registry: StandInRegistry
    world: World
    branch: Branch
    digest: str = ""
    uid: str = "u-1"
    cluster: OneObject = field(default_factory=OneObject)
    run: Run = field(init=False)
    template: Template = field(init=False)
    plain: Any = None

    @classmethod
    def make(cls, base: Path, signers: Signers, registry: StandInRegistry) -> Place:
        world = World(base / "served" / "web")
        made = cls(base, signers, registry, world, world.branch("master", CHART))
        made.digest = registry.add_image("t/web", "one")
        made.run = Run("test", Deadline(60), out=base)
        table = [{"_account_id": n, "username": name, "email": f"{name}@example.com"} for name, n in ACCOUNTS.items()]
        (base / "accounts.json").write_text(json.dumps(table))
        (base / "more.yaml").write_text("replicas: 2\n")
        made.targets()
        subprocess.run(["git", "init", "-q", str(base / "web")], check=True)
        made.take()
        return made

    def targets(self, **more: Any) -> None:
        """Write targets.yaml; `more` goes to the environment."""
        keys = {purpose: [str(file) for file in files] for purpose, files in self.signers.files.items()}
        place = {"namespace": "web", "release": "web", "values": ["more.yaml"]}
        review = {"approvers": ["bob", "carol"], "verifiers": ["zuul"], "since": self.branch.base}
        document = {
            "version": 1,
            "gerrit": {"url": f"file://{self.base}/served", "server_id": SID, "mail": "gerrit@example.com",
                       "accounts": ["accounts.json"], "mirrors": str(self.base / "mirrors")},
            "keys": keys,
            "environments": {"production": {"policy": "reviewed", **more}, "staging": {"policy": "reviewed"}},
            "services": {"web": {"image": f"{self.registry.host}/t/web", "review": review,
                                 "environments": {"production": place, "staging": {**place, "namespace": "staging"}}}},
        }  # fmt: skip
        (self.base / "targets.yaml").write_text(json.dumps(document))

    def take(self) -> None:
        self.world.save()
        self.git("-c", "fetch.unpackLimit=1", "fetch", "-q", str(self.world.folder), "master")
        self.git("checkout", "-q", "--force", "FETCH_HEAD")

    def git(self, *args: str) -> str:
        argv = ["git", "-C", str(self.base / "web"), *args]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def change(self, text: str, approver: str = "bob", **files: str) -> Change:
        """A change to the values, merged and taken."""
        made = self.branch.change({"values.yaml": f"text: {text}\n", **files})
        made.approve(approver).submit()
        self.take()
        return made

    @property
    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def repository(self) -> Repository:
        return Registries(self.run).repository(self.image)

    @property
    def image(self) -> Reference:
        return Reference(self.registry.host, "t/web", digest=self.digest)

    def attest(
        self, *, tree: str = "", good: bool = True, keys: tuple[str, str] = ("provenance", "test-result")
    ) -> None:
        now = datetime.now(UTC)
        tree, work = tree or self.git("rev-parse", "HEAD^{tree}"), Done("b", "gate", "1", now, now)
        built = Provenance("web", "production", tree, "", "1" * 64, "2" * 64, (), False, work).predicate()
        tested = TestResult("web", tree, self.digest, "4" * 64, 1, int(not good), 0, good, (), work).predicate()
        for kind, said, key in ((PROVENANCE, built, keys[0]), (TEST_RESULT, tested, keys[1])):
            self.put(make_statement(self.image.repository, self.digest, kind, said, self.signers.key(key)), kind)

    def put(self, envelope: bytes, kind: str = SUMMARY) -> None:
        attach(self.repository, self.digest, [Attestation(envelope, kind)])

    def work(self) -> Work:
        return open_work(self.run, self.base / "web", self.base / "targets.yaml", need_target=True)

    def permits(self, environment: str = "production", **more: Any) -> Permits:
        target = read_target(self.base / "targets.yaml", "web")
        place = target.environment(environment)
        api = SimpleNamespace(get=lambda *_: {"metadata": {"uid": self.uid}}, server="https://k.test")
        trigger = Trigger("zuul", pipeline=GATE, url="https://jenkins.test/7/")
        release = SimpleNamespace(run=self.run, environment=place, trigger=trigger, api=api, records=self.records(place.namespace),
                                  helm=Helm(self.run, place), holder="me",
                                  images=Images(lambda *_: True, self.run.warn))  # fmt: skip
        return Permits(release, target, self.base / "audit", **more)  # type: ignore[arg-type]

    def seal(self, purpose: str = "permit", reason: str = "") -> Seal:
        return Seal(self.signers.key(purpose), purpose, reason)

    def authorize(self, environment: str = "production", **seal: str) -> dict[str, Any]:
        return authorize_deploy(self.permits(environment), self.work(), self.seal(**seal), self.image)

    def records(self, namespace: str = "web") -> Records:
        return Records(self.cluster, namespace, "web", "web")  # type: ignore[arg-type]

    def record(self) -> Record:
        return self.records().read(Deadline(5))

    def settle(self, use: Use | None = None, **more: Any) -> None:
        """What a deploy leaves behind: its entry, and the permit that was spent."""

        commit = self.commit

        def change(record: Record) -> None:
            number = len(record.revisions) + 1
            label = use.label if use else ""
            facts = {"commit": commit, "image": str(self.image), "permit": label, **more}
            record.put(entry(number, digest=self.digest, **facts))
            record.live = number
            if use:
                record.permit_sequence, record.permit_nonce = use.sequence, use.nonce

        self.records().update(change, Deadline(5))

    def guard(self, environment: str = "production", deadline: Deadline | None = None, **more: Any) -> Use | None:
        """What the deploy's guard says of the work tree as it is now."""
        permits, work = self.permits(environment, **more), self.work()
        assert work.target
        release = permits.release
        with prepare_chart(
            release.helm, work.source, work.service.deploy, work.target, permits.place, self.run.deadline
        ) as chart:
            wish = SimpleNamespace(source=work.source, service=work.service, image=self.image)
            return permits.guard_deploy(
                SimpleNamespace(wish=wish, chart=chart), self.record(), deadline or self.run.deadline
            )  # type: ignore[arg-type]

    def ship(self) -> Use:
        """A reviewed change, all the way."""
        self.template.ready.restore(self)
        use = self.guard()
        assert use
        self.settle(use)
        return use


@dataclass
class Saved:
    """A place as it was, to go on from: to make it anew takes a hundred times as long."""

    folder: Path
    state: Any

    @classmethod
    def of(cls, place: Place, folder: Path) -> Saved:
        shutil.copytree(place.base, folder)
        registry = place.registry
        return cls(folder, deepcopy((place.world, place.branch, registry.manifests, registry.blobs, place.digest)))

    def restore(self, place: Place) -> Place:
        shutil.rmtree(place.base)
        shutil.copytree(self.folder, place.base)
        registry, auth = place.registry, place.plain
        state = deepcopy(self.state)
        place.world, place.branch, registry.manifests, registry.blobs, place.digest = state
        registry.auth, place.cluster, place.uid = auth, OneObject(), "u-1"
        place.run = Run("test", Deadline(60), out=place.base)
        return place


@dataclass
class Template:
    place: Place
    fresh: Saved
    ready: Saved


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, signers: Signers) -> Iterator[Template]:
    """A new service, and one with a change that was permitted."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "at").mkdir()
    with serving(StandInRegistry()) as registry:
        place = Place.make(folder / "at", signers, registry)
        place.plain = registry.auth
        fresh = Saved.of(place, folder / "fresh")
        place.change("one")
        place.attest()
        place.authorize()
        yield Template(place, fresh, Saved.of(place, folder / "ready"))


@pytest.fixture
def place(template: Template) -> Place:
    template.place.template = template
    watch(template.place.base)
    return template.fresh.restore(template.place)


def refused(doing: Callable[[], object], *words: str) -> Refused:
    with pytest.raises(Refused) as caught:
        doing()
    said = " ".join([caught.value.message, *caught.value.details])
    assert all(word in said for word in words), said
    assert caught.value.hint, "it says what would satisfy it"
    return caught.value
