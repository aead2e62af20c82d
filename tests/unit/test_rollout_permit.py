"""A permit, as a rollout goes by it: spent once, gone on with only where a run was killed, and what runs compared."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import OneObject, entry, record
from helms import a_lease

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import NeedsPerson, NotAllowed, Refused, Unavailable, UsageProblem
from cdlib.reference import Reference, parse
from cdlib.rollout import comparing, going_back
from cdlib.rollout import deploy as deploying
from cdlib.rollout import rollback as rolling
from cdlib.rollout.api import Conflict
from cdlib.rollout.chart import Chart
from cdlib.rollout.drift import Standing
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.permit import Use, foreign_images, label, name_of_cluster, spend, unfinished, unnamed
from cdlib.rollout.planning import Plan, plan_deploy, with_permit
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import Records
from cdlib.rollout.release import Outcome
from cdlib.rollout.verdict import INCONCLUSIVE, State
from cdlib.service import Deploy, Verify
from cdlib.units import timestamp

NONCE = "ab" * 16
LABEL = label(7, NONCE)
DIGEST, OTHER = ("sha256:" + letter * 64 for letter in "de")
IMAGE = parse(f"r.test/hello@{DIGEST}")
USE = Use(7, NONCE, "permit", "https://jenkins.test/")


def release(cluster: Any) -> Any:
    events = SimpleNamespace(told=[])
    events.emit = lambda name, **fields: events.told.append((name, fields))
    run = SimpleNamespace(events=events, warnings=[])
    run.warn = run.warnings.append
    return SimpleNamespace(records=Records(cluster, "n", "hello", "hello"), run=run)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], True),
        ([("deploying", LABEL)], True),
        ([("interrupted", LABEL)], True),
        ([("verified", LABEL)], False),
        ([("failed", LABEL), ("verified", LABEL)], False),  # and taken back
        ([("interrupted", LABEL), ("verified", LABEL)], False),  # gone on with
        ([("verified", LABEL), ("deploying", "8-other")], False),
        ([("interrupted", "6-abababab")], True),
    ],
)
def test_a_permit_may_be_gone_on_with_until_its_run_has_ended(entries: list[tuple[str, str]], expected: bool) -> None:
    revisions = [entry(number, status, permit=permit) for number, (status, permit) in enumerate(entries, 1)]
    found = Record("hello", "hello", revisions, permit_sequence=7, permit_nonce=NONCE)
    assert unfinished(found) is expected


def test_it_is_spent_once() -> None:
    place = release(OneObject())
    seen = place.records.read(Deadline(5))
    spend(place, USE, seen, Deadline(5))
    after = place.records.read(Deadline(5))
    assert (after.permit_sequence, after.permit_nonce) == (7, NONCE)
    with pytest.raises(Refused, match="overtaken"):
        spend(place, USE, seen, Deadline(5))
    assert [name for name, _ in place.run.events.told] == ["permit"] and place.run.warnings == []


def test_of_two_that_were_judged_by_the_same_record_one_is_spent() -> None:
    cluster = OneObject()
    one, two = release(cluster), release(cluster)
    seen = [each.records.read(Deadline(5)) for each in (one, two)]
    spend(one, USE, seen[0], Deadline(5))
    with pytest.raises(Refused, match="overtaken"):
        spend(two, Use(7, "cd" * 16, "permit", "x"), seen[1], Deadline(5))


class Forgetful(OneObject):
    """An API whose answer to the next write is lost: who tries again is told that the object has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.losing = 0
        self.meanwhile: Any = None  # what another does before the write is tried again

    def _keep(self, body: dict[str, Any]) -> Any:
        kept = super()._keep(body)
        if self.losing:
            self.losing -= 1
            if self.meanwhile:
                self.meanwhile()
            raise Conflict("changed")
        return kept


@pytest.mark.parametrize("first", [False, True], ids=["POST", "PUT"])
def test_where_the_answer_was_lost_it_is_seen_that_it_was_spent(first: bool) -> None:
    cluster = Forgetful()
    place = release(cluster)
    if first:
        place.records.update(lambda found: found.put(entry(1)), Deadline(5))
    seen = place.records.read(Deadline(5))
    cluster.losing = 1
    spend(place, USE, seen, Deadline(5))
    after = place.records.read(Deadline(5))
    assert (after.permit_sequence, after.permit_nonce) == (7, NONCE)
    assert [name for name, _ in place.run.events.told] == ["permit"]


def test_what_another_run_has_begun_by_the_same_permit_is_no_answer_that_was_lost() -> None:
    cluster = Forgetful()
    one, other = release(cluster), release(cluster)
    one.records.update(lambda found: found.put(entry(1)), Deadline(5))
    seen = one.records.read(Deadline(5))

    def begin() -> None:
        other.records.update(lambda found: found.put(entry(2, "deploying", permit=LABEL)), Deadline(5))

    cluster.losing, cluster.meanwhile = 1, begin
    with pytest.raises(Refused, match="overtaken"):
        spend(one, USE, seen, Deadline(5))


def test_what_is_gone_on_with_is_not_spent_again() -> None:
    place = release(OneObject())
    seen = place.records.read(Deadline(5))
    spend(place, Use(7, NONCE, "permit", "x", again=True), seen, Deadline(5))
    assert place.records.read(Deadline(5)).permit_sequence == 0


def test_break_glass_is_loud() -> None:
    place = release(OneObject())
    use = Use(7, NONCE, "break-glass", "eve", "the authorizer burns")
    spend(place, use, place.records.read(Deadline(5)), Deadline(5))
    assert use.note == "break-glass by eve: the authorizer burns" and "nobody has checked" in place.run.warnings[0]
    assert place.run.events.told[0][1]["kind"] == "break-glass"
    assert USE.note == ""


def pod(
    *running: str, init: str | None = None, image: str = f"r.test/hello@{DIGEST}", uid: str = "u"
) -> dict[str, Any]:
    names = [f"c{number}" for number, _ in enumerate(running)]
    found: dict[str, Any] = {
        "metadata": {"name": "hello-1", "uid": uid},
        "spec": {"containers": [{"name": name, "image": image} for name in names]},
        "status": {
            "containerStatuses": [{"name": n, "imageID": i} for n, i in zip(names, running, strict=True)],
        },
    }
    if init is not None:
        found["spec"]["initContainers"] = [{"name": "before", "image": image}]
        found["status"]["initContainerStatuses"] = [{"name": "before", "imageID": init}]
    return found


@pytest.mark.parametrize("running", [f"r/hello@{DIGEST}", f"docker-pullable://r/hello@{DIGEST}", DIGEST])
def test_what_runs_is_what_was_permitted(running: str) -> None:
    assert foreign_images(USE, IMAGE, [pod(running, init=running)], Deadline(5)) == ()


def test_a_node_may_know_it_by_another_name() -> None:
    use = Use(7, NONCE, "permit", "x", aliases=lambda *_: frozenset({OTHER}))
    for running in (f"r/hello@{OTHER}", OTHER, f"docker://{OTHER}"):
        assert foreign_images(use, IMAGE, [pod(running)], Deadline(5)) == ()


@pytest.mark.parametrize(("configuration", "reasons"), [("sha256:c", []), ("sha256:f", ["ImageID"])])
def test_a_node_may_have_it_by_another_manifest_of_the_same_configuration(
    configuration: str, reasons: list[str]
) -> None:
    found = {DIGEST: frozenset({"sha256:c"}), OTHER: frozenset({configuration})}
    use = Use(7, NONCE, "permit", "x", aliases=lambda image, _: found[image.digest])
    faults = foreign_images(use, IMAGE, [pod(f"r/hello@{OTHER}"), pod(DIGEST)], Deadline(5))
    assert [fault.reason for fault in faults] == reasons


@pytest.mark.parametrize("running", [f"r/hello@{OTHER}", OTHER, "r/hello:latest"])
def test_something_else_that_runs_is_a_fault(running: str) -> None:
    good = f"r/hello@{DIGEST}"
    for wrong in (pod(good, running), pod(good, init=running)):
        (fault,) = foreign_images(USE, IMAGE, [pod(good), wrong], Deadline(5))
        assert fault.reason == "ImageID" and fault.pod == "hello-1"


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_runs_nothing(phase: str) -> None:
    """As one that its node has rejected for want of room; it stays until somebody removes it."""
    ended = pod("", init=f"r/hello@{OTHER}")
    ended["status"] |= {"phase": phase}
    assert foreign_images(USE, IMAGE, [ended], Deadline(5)) == ()


@pytest.mark.parametrize(
    ("status", "begun"),
    [
        ({"phase": "Pending"}, False),
        ({"phase": "Pending", "containerStatuses": [{"name": "c0", "state": {"waiting": {}}, "imageID": ""}]}, False),
        ({"phase": "Running", "containerStatuses": [{"name": "c0", "state": {"running": {}}, "imageID": ""}]}, True),
        ({"phase": "Running"}, True),
    ],
)
def test_what_no_node_has_named_is_inconclusive_and_blames_nobody(status: dict[str, Any], begun: bool) -> None:
    new = {**pod("x"), "status": status}
    assert unnamed([new], str(IMAGE)) is begun
    assert [fault.reason for fault in foreign_images(USE, IMAGE, [new], Deadline(5))] == [INCONCLUSIVE] * begun


def test_what_runs_something_else_is_told_before_what_is_not_known() -> None:
    faults = foreign_images(USE, IMAGE, [pod(""), pod(OTHER)], Deadline(5))
    assert [fault.reason for fault in faults] == ["ImageID", INCONCLUSIVE]


class Pods:
    """A watch of pods, one look after another; the last one stays."""

    def __init__(self, *looks: list[dict[str, Any]]) -> None:
        self.looks, self.waited, self.listed = list(looks), 0, True

    def __call__(self, *_: object) -> Any:
        return nullcontext(self)

    def wait(self, _seconds: float) -> None:
        self.waited += 1

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        return {"Pod": self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]}


def compared(monkeypatch: pytest.MonkeyPatch, pods: Pods, use: Use = USE) -> State:
    monkeypatch.setattr(comparing, "Watch", pods)
    place = SimpleNamespace(api=None, environment=SimpleNamespace(namespace="n"))
    state = State(True, "", pods=(pod(f"r/hello@{DIGEST}"), pod("", uid="late")))
    return comparing.as_permitted(place, use, IMAGE, state, Deadline(20))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([pod(f"r/hello@{DIGEST}"), pod(f"r/hello@{DIGEST}", uid="late")], []),
        ([pod(f"r/hello@{DIGEST}"), pod(OTHER, uid="late")], ["ImageID"]),
        ([pod(f"r/hello@{DIGEST}")], []),  # gone
    ],
)
def test_what_is_not_known_yet_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, later: list[dict[str, Any]], expected: list[str]
) -> None:
    pods = Pods([pod(f"r/hello@{DIGEST}"), pod("", uid="late")], later)
    assert [fault.reason for fault in compared(monkeypatch, pods).faults] == expected and pods.waited == 2


def test_what_never_gets_known_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "NAMED_WITHIN", 0.01)
    (fault,) = compared(monkeypatch, Pods([pod("", uid="late")])).faults
    assert fault.reason == INCONCLUSIVE


def test_a_registry_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    answers = [Unavailable("away"), Unavailable("away"), frozenset({OTHER})]

    def aliases(_: Reference, _deadline: Deadline) -> frozenset[str]:
        answer = answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    use = Use(7, NONCE, "permit", "x", aliases=aliases)
    assert compared(monkeypatch, Pods([pod(OTHER, uid="late")]), use).faults == () and not answers


def test_containers_of_other_images_are_no_concern() -> None:
    assert foreign_images(USE, IMAGE, [pod(OTHER, image="r/proxy:1")], Deadline(5)) == ()


def api(answer: Any) -> Any:
    def get(path: str, _deadline: Deadline) -> Any:
        assert path == "/api/v1/namespaces/hello"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(get=get, server="https://k.test")


def test_a_cluster_is_named_by_what_no_other_has() -> None:
    assert name_of_cluster(api({"metadata": {"uid": "u-1"}}), "hello", Deadline(5)) == "hello/u-1"
    with pytest.raises(UsageProblem, match="no namespace"):
        name_of_cluster(api(None), "hello", Deadline(5))
    with pytest.raises(NotAllowed, match="permits are told apart"):
        name_of_cluster(api(NotAllowed("no")), "hello", Deadline(5))


def test_the_record_of_an_older_version_is_read() -> None:
    assert record(entry(1)).permit_nonce == "" and unfinished(record(entry(1, permit="x")))


LEASE = a_lease()


class Stage:
    """A release whose record is real and whose cluster is not; what is done to it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, live: str = "verified", previous: str = "verified") -> None:
        self.cluster, self.done = OneObject(), list[str]()
        self.release = release(self.cluster)
        self.release.records.update(self._first(live, previous), Deadline(5))
        self.reads = 0
        self.release.read = self._read
        self.release.holder = "me"
        self.release.environment = SimpleNamespace(budget=60.0, inconclusive="rollback")
        for module in (deploying, rolling):
            monkeypatch.setattr(module, "heal", self._heal)
        monkeypatch.setattr(deploying, "_roll_out", self._roll_out)
        monkeypatch.setattr(rolling, "go_back", self._go_back)
        monkeypatch.setattr(deploying, "with_permit", self._with_permit)
        monkeypatch.setattr(rolling, "_choose", lambda _release, known, to, *_: known[0].find(to or 1))
        for module in (deploying, rolling):
            monkeypatch.setattr(module, "stands", lambda _release, entry, _: Standing(Outcome("unchanged", entry)))

    @staticmethod
    def _first(live: str, previous: str) -> Any:
        def change(found: Record) -> None:
            found.revisions, found.live = [entry(1, previous), entry(2, live, image=str(IMAGE))], 2

        return change

    def _read(self, deadline: Deadline) -> tuple[Record, list[Any]]:
        self.reads += 1
        return self.release.records.read(deadline), [HelmRevision(1, "superseded"), HelmRevision(2, "deployed")]

    @property
    def record(self) -> Record:
        return self.release.records.read(Deadline(5))

    def guard(self, use: Use | Exception | None = USE) -> Any:
        def guard(_what: object, _record: Record, _deadline: Deadline) -> Use | None:
            self.done.append("guard")
            if isinstance(use, Exception):
                raise use
            return use

        return guard

    def _heal(self, _release: Any, _lease: Any, known: Any, _deadline: Deadline) -> Any:
        self.done.append(f"heal with {self.record.permit_sequence} spent")
        return self.release.read(Deadline(5))

    def _with_permit(self, _release: Any, plan: Plan, use: Use, **_: Any) -> Plan:
        return replace(plan, permit=use)

    def _roll_out(self, _release: Any, plan: Any, *_: Any) -> Any:
        self.done.append(f"deploy by {plan.permit.label if plan.permit else 'nothing'}")

    def _go_back(
        self, _release: Any, _lease: Any, to: Any, why: str, _deadline: Any, _previous: str, permit: Any
    ) -> Any:
        self.done.append(f"back to {to.revision} by {permit.label if permit else 'nothing'}: {why}")
        return Outcome("done", to)

    def deploy(self, guard: Any, *, older: bool = False, commit: str = "c" * 40) -> Any:
        source = SimpleNamespace(commit=commit, short=commit[:12], is_before=lambda _: older)
        wish = SimpleNamespace(source=source, image=IMAGE, unrelated=False)
        chart = SimpleNamespace(digest="chart", values_digest="values")
        plan = Plan(wish, None, chart, (), None, ())  # type: ignore[arg-type]
        return deploying._under_lease(self.release, plan, LEASE, guard, (), Deadline(5))

    def back(self, guard: Any, to: int = 1) -> Any:
        wish = rolling._Wish(to, "three is slow", False)
        return rolling._under_lease(self.release, LEASE, wish, guard, Deadline(5))[0]  # type: ignore[arg-type]


def test_a_deploys_permit_is_spent_before_anything_else_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.deploy(stage.guard())
    assert stage.done == ["guard", "heal with 7 spent", f"deploy by {LABEL}"]


@pytest.mark.parametrize("how", ["refused", "older"])
def test_what_is_refused_has_written_nothing(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    stage = Stage(monkeypatch)
    before = stage.cluster.version
    with pytest.raises(Refused):
        stage.deploy(stage.guard(Refused("no")), older=how == "older")
    assert stage.done == (["guard"] if how == "refused" else []) and stage.cluster.version == before


def test_where_nothing_is_asked_for_nothing_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.deploy(stage.guard(None))
    stage.back(stage.guard(None))
    stage.back(None)
    assert stage.record.permit_sequence == 0
    assert [line for line in stage.done if "by" in line] == [
        "deploy by nothing",
        *["back to 1 by nothing: three is slow"] * 2,
    ]


@pytest.mark.parametrize("live", ["verified", "deploying"])
def test_what_a_run_had_done_before_it_was_killed_is_not_done_again(monkeypatch: pytest.MonkeyPatch, live: str) -> None:
    """It may have been killed between its last word and giving the lease back: its permit is spent then."""
    stage = Stage(monkeypatch, live=live)
    made = stage.deploy(stage.guard(), commit=entry(2).commit)
    if live == "verified":
        assert (made.outcome, stage.done) == ("unchanged", [])
    else:
        assert stage.done[-1] == f"deploy by {LABEL}"


def test_a_rollbacks_permit_is_spent_before_anything_else_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.back(stage.guard())
    assert stage.done == ["guard", "heal with 7 spent", f"back to 1 by {LABEL}: three is slow"]
    assert stage.record.hold
    loud = Stage(monkeypatch)
    loud.back(loud.guard(Use(7, NONCE, "break-glass", "eve", "in a hurry")))
    assert loud.done[-1] == f"back to 1 by {LABEL}: break-glass by eve: in a hurry; three is slow"


def test_a_rollback_reads_once_under_the_lease_and_again_where_something_was_cleared_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    stage.back(stage.guard())
    assert stage.reads == 2
    whole = Stage(monkeypatch)
    monkeypatch.setattr(rolling, "heal", lambda _release, _lease, known, _deadline: known)
    whole.back(whole.guard())
    assert whole.reads == 1 and whole.record.hold and whole.record.permit_sequence == 7


def test_a_rollback_that_is_refused_neither_holds_nor_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    with pytest.raises(Refused):
        stage.back(stage.guard(Refused("no")))
    assert stage.done == ["guard"] and stage.record.hold is None


def test_a_rollback_to_what_is_live_needs_no_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    assert stage.back(stage.guard(Refused("no")), to=2).outcome == "unchanged" and stage.done == []


class Helm:
    """Renders one object that runs the image, unless the chart is one that looks at its permit."""

    def __init__(self, honest: bool = True) -> None:
        self.honest, self.told = honest, list[Any]()

    def render(self, _folder: Path, values: tuple[Path, ...], _deadline: Deadline, **_: Any) -> list[Any]:
        said = json.loads(values[-1].read_text())
        self.told.append(said["cd"]["permit"])
        digest = OTHER if said["cd"]["permit"] and not self.honest else said["image"]["digest"]
        image = f"{said['image']['repository']}@{digest}"
        return [{"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [
            {"name": "x", "image": image}]}}}}]  # fmt: skip


def planned(folder: Path, helm: Helm) -> tuple[Any, Plan]:
    verify = Verify()
    place = SimpleNamespace(namespace="n", budget=60.0, verify=verify)
    run = SimpleNamespace(stage=lambda *_: nullcontext({}))
    made = SimpleNamespace(environment=place, trigger=SimpleNamespace(change="7"), helm=helm, run=run,
                           api=SimpleNamespace(version=lambda _: ""))  # fmt: skip
    wish: Any = SimpleNamespace(source=SimpleNamespace(commit="c" * 40, committed_at=datetime.now(UTC)), image=IMAGE,
                                service=SimpleNamespace(deploy=Deploy()))  # fmt: skip
    chart = Chart(folder, (), "1", "2")
    return made, plan_deploy(made, wish, chart, folder, upgrade=True, budget=Deadline(5))


def test_the_chart_is_told_of_the_permit_and_what_it_makes_of_it_is_checked(tmp_path: Path) -> None:
    made, plan = planned(tmp_path, helm := Helm())
    permitted = with_permit(made, plan, USE, upgrade=True, budget=Deadline(5))
    assert helm.told == ["", LABEL] and permitted.permit is USE and permitted.facts["permit"] == LABEL
    made, plan = planned(tmp_path, Helm(honest=False))
    with pytest.raises(UsageProblem, match="nothing in the chart runs"):
        with_permit(made, plan, USE, upgrade=True, budget=Deadline(5))


def back(monkeypatch: pytest.MonkeyPatch, use: Use | None, running: str) -> Revision:
    """What becomes of a rollback, after which `running` runs."""
    state = State(True, "", pods=(pod(running),))
    made: Any = release(OneObject())
    made.environment = SimpleNamespace(namespace="n", release="hello", verify=Verify())
    made.api = None
    made.helm = SimpleNamespace(manifest=lambda *_: [])
    made.holder, made.history, made.now = "me", lambda _: [SimpleNamespace(revision=3)], timestamp
    made.run.events.run_id, made.run.out = "r", None
    marked: list[str] = []
    made.mark = lambda entry, _deadline, **more: marked.append(more.get("status", entry.permit))
    made.verified = lambda entry, _deadline: entry
    for name, what in {"apply_rollback": None, "restore": None, "judge": state, "templates_of": {},
                       "tell_restored": None, "gather": []}.items():  # fmt: skip
        monkeypatch.setattr(going_back, name, lambda *_, what=what, **__: what)
    to = replace(entry(1, "verified"), image=str(IMAGE), digest=DIGEST)
    try:
        return going_back.go_back(made, SimpleNamespace(), to, "why", Deadline(5), permit=use).entry  # type: ignore[arg-type]
    finally:
        assert marked[0] == (use.label if use else "")
        assert marked[1:] in ([], ["failed"])


def test_what_runs_after_a_rollback_is_compared_as_after_a_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert back(monkeypatch, USE, DIGEST).permit == LABEL
    assert back(monkeypatch, None, OTHER).permit == ""
    with pytest.raises(NeedsPerson, match="which is not sha256:ddd"):
        back(monkeypatch, USE, OTHER)
