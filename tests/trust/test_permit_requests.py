"""Where review, attestations, permits and the release record meet: what the authorizer signs, and what a deploy takes.

Gerrit's records, git and the envelopes are real; the registry and the cluster are stand-ins.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import entry, kubeconfig
from permitted import GATE, Place, place, refused, signers, template
from signing import Signers
from stand_ins import Seen, Server, serving

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.documents import schema_mistakes
from cdlib.errors import CdError, Refused, RegistryRefused, UsageProblem
from cdlib.image.plan import TREE_LABEL
from cdlib.promotion import releases
from cdlib.promotion.authorized import authorized_before
from cdlib.promotion.authorizing import asked_deploy, authorize_rollback, find_image
from cdlib.promotion.issuing import open_seal
from cdlib.report.audit import check
from cdlib.rollout import deploy as deploying
from cdlib.rollout import rollback
from cdlib.rollout.chart import prepare_chart
from cdlib.rollout.destination import destination
from cdlib.rollout.helm import Helm
from cdlib.rollout.images import Images
from cdlib.rollout.permit import Use
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.release import Outcome
from cdlib.trust import attached
from cdlib.trust.approval import NAMESPACE, Approval, compose, sign
from cdlib.trust.attached import tag_of
from cdlib.trust.permit import Spent, issue, permit_for
from cdlib.trust.summary import ROLLBACK
from jobs import authorize_deploy as authorize_command
from jobs import helm_deploy, helm_rollback, publish_tag

__all__ = ["place", "signers", "template"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attached, "_WAIT", 0.0)


def test_from_the_review_to_the_next_deploy(place: Place) -> None:
    change = place.change("one")
    place.attest()
    made = place.authorize()
    assert made["sequence"] == 1 and [verdict["basis"] for verdict in made["verdicts"]] == ["change"]
    use = place.guard()
    assert use and use.sequence == 1 and not use.loud and use.label == made["permit"]["permit"]
    place.settle(use)
    assert change.commit == place.commit
    place.change("two")
    place.attest()
    made = place.authorize()
    assert made["sequence"] == 2 and [verdict["commit"] for verdict in made["verdicts"]] == [place.commit]
    second = place.guard()
    assert second and second.sequence == 2
    found = list(check(place.base / "audit"))
    assert [entry["event"] for entry, _ in found] == ["permit", "spent", "permit", "spent"]
    assert not any(problem for _, problem in found)


def test_commits_once_authorized_stay_so(place: Place) -> None:
    """An approver who has left since does not block what follows."""
    place.change("one", approver="carol")
    place.attest()
    place.authorize()
    place.settle(place.guard())
    text = (place.base / "targets.yaml").read_text().replace('"bob", "carol"', '"bob"')
    (place.base / "targets.yaml").write_text(text)
    place.change("two")
    place.attest()
    assert len(place.authorize()["verdicts"]) == 1


def test_they_stay_so_after_an_automatic_rollback(place: Place) -> None:
    """The newest entry is an older commit's then; what was authorized last is not, and is not judged again."""
    place.ship()
    live, first = place.commit, place.digest
    place.digest = place.registry.add_image("t/web", "two")
    place.change("two", approver="carol")
    place.attest()
    place.authorize()
    use = place.guard()
    place.settle(use, status="failed")
    failed = place.commit
    place.digest = first
    place.settle(use, commit=live, rollback_of=1)
    text = (place.base / "targets.yaml").read_text().replace('"bob", "carol"', '"bob"')
    (place.base / "targets.yaml").write_text(text)
    place.digest = place.registry.add_image("t/web", "three")
    place.change("three")
    place.attest()
    assert authorized_before(place.permits(), place.work(), place.record()) == failed
    assert len(place.authorize()["verdicts"]) == 1


def unreviewed(place: Place) -> str:
    """A commit that was pushed past review, below one that was reviewed."""
    place.branch.push({"evil": "1\n"})
    evil = place.branch.head
    place.change("two")
    place.attest()
    return evil


def test_whoever_writes_the_record_cannot_skip_a_review(place: Place) -> None:
    place.ship()
    evil = unreviewed(place)
    refused(place.authorize, evil[:12], "pushed past review")
    place.settle(commit=evil)
    refused(place.authorize, evil[:12], "pushed past review")


def forged(place: Place, key: str, **more: Any) -> None:
    """A permit in the record's place that says that the unreviewed commit was authorized."""
    from cdlib.promotion.permits import spent
    from cdlib.trust.permit import permit_for

    permits = place.permits(more.pop("environment", "production"))
    asked = permits.asked(more.pop("action", "deploy"), place.record(), commit=more.pop("commit"), digest=place.digest,
                          chart=place.digest, values=place.digest)  # fmt: skip
    permit = permit_for(replace(asked, **more), spent(place.record()), by="eve", reason="because")
    place.put(issue(permit, place.signers.key(key)))


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("stranger", {}),
    ("provenance", {}),
    ("test-result", {}),
    ("break-glass", {}),
    ("permit", {"environment": "staging"}),
    ("permit", {"action": "rollback"}),
    ("permit", {"image": "r.test/other"}),
]


def test_only_the_authorizers_permit_for_a_deploy_there_vouches_for_what_is_below(place: Place) -> None:
    place.ship()
    evil = unreviewed(place)
    place.settle(commit=evil)
    for key, more in FORGED:
        forged(place, key, commit=evil, **more)
        refused(place.authorize, evil[:12], "pushed past review")
    forged(place, "permit", commit=evil)  # which only the authorizer could have made
    assert len(place.authorize()["verdicts"]) == 1


def test_a_cluster_that_was_made_anew_does_not_forget_reviews(place: Place) -> None:
    place.ship()
    place.uid = "u-2"
    place.change("two")
    place.attest()
    assert len(place.authorize()["verdicts"]) == 1


def test_without_its_permits_more_is_judged_and_never_less(place: Place) -> None:
    place.ship()
    place.registry.manifests["t/web"] = {
        name: manifest for name, manifest in place.registry.manifests["t/web"].items() if ".att" not in name
    }
    place.change("two")
    place.attest()
    assert len(place.authorize()["verdicts"]) == 2


def alone(place: Place) -> None:
    place.change("one", approver="alice")
    place.attest()


def nobody(place: Place) -> None:
    place.change("one", approver="")
    place.attest()


def pushed(place: Place) -> None:
    place.branch.push({"values.yaml": "text: evil\n"})
    place.take()
    place.attest()


def another_tree(place: Place) -> None:
    place.change("one")
    place.attest(tree="d" * 40)


def failed_tests(place: Place) -> None:
    place.change("one")
    place.attest(good=False)


def by_one_key(place: Place) -> None:
    place.change("one")
    place.attest(keys=("provenance", "provenance"))


def by_a_stranger(place: Place) -> None:
    place.change("one")
    place.attest(keys=("stranger", "stranger"))


def held(place: Place) -> None:
    place.change("one")
    place.attest()
    place.records().update(lambda r: setattr(r, "hold", {"reason": "freeze"}), Deadline(5))


def quarantined(place: Place) -> None:
    place.change("one")
    place.attest()
    place.records().update(lambda r: r.quarantine.update({place.digest: {}}), Deadline(5))


def older(place: Place) -> None:
    place.ship()
    first = place.commit
    place.change("two")
    place.settle()
    place.git("checkout", "-q", first)


def policy_edited_in_the_same_change(place: Place) -> None:
    """The change brings a targets.yaml of its own, by which its author approves and nothing is asked for."""
    text = (place.base / "targets.yaml").read_text().replace('"bob"', '"alice"').replace('"reviewed"', '"none"')
    place.change("one", approver="alice", **{"targets.yaml": text, ".cd/targets.yaml": text})
    place.attest()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (alone, "alice"),
        (policy_edited_in_the_same_change, "alice"),
        (nobody, "Code-Review"),
        (pushed, "pushed past review"),
        (lambda place: place.change("one"), "no provenance proves"),
        (another_tree, "its tree is"),
        (failed_tests, "did not pass"),
        (by_one_key, "no test result proves"),
        (by_a_stranger, "no provenance proves"),
        (held, "on hold"),
        (quarantined, "quarantined"),
        (older, "is older than"),
    ],
)
def test_what_the_authorizer_refuses(place: Place, prepare: Callable[[Place], object], words: str) -> None:
    prepare(place)
    before = set(place.registry.manifests["t/web"])
    refused(place.authorize, words)
    assert set(place.registry.manifests["t/web"]) == before


def test_where_signatures_are_asked_for_a_bare_vote_is_not_enough(place: Place) -> None:
    change = place.change("one")
    place.attest()
    place.targets(policy="signed")
    with pytest.raises(UsageProblem, match="whose signatures count"):
        place.authorize()
    key = place.base / "bob"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = " ".join((place.base / "bob.pub").read_text().split()[:2])
    (place.base / "allowed").write_text(f'bob namespaces="{NAMESPACE}" {public}\n')
    text = (place.base / "targets.yaml").read_text().replace('"mirrors":', '"allowed_signers": "allowed", "mirrors":')
    (place.base / "targets.yaml").write_text(text)
    problem = refused(place.authorize, "signed approval for production is missing")
    assert f"bob run: cd-approve {change.number}" in problem.hint
    tree = place.git("rev-parse", "HEAD^{tree}")
    later = datetime.now(UTC) + timedelta(days=1)
    said = Approval("web", change.number, 1, change.commit, tree, "production", later)
    note: Any = change.notes[change.commit]
    note["comments"].append({"message": compose(said, sign(said, key, Deadline(10)))})
    change.record("bob", [])
    place.world.save()
    assert place.authorize()["verdicts"][0]["voters"][-1] == "signed bob"
    assert place.guard()


def ready(place: Place) -> None:
    """A reviewed change, attested and permitted."""
    place.template.ready.restore(place)


def other_digest(place: Place) -> None:
    ready(place)
    place.digest = place.registry.add_image("t/web", "two", text="other")
    place.attest()


def tag_moved_after_the_check(place: Place) -> None:
    """What was permitted was found by its tag, which is somewhere else by the time of the deploy."""
    ready(place)
    assert find_image(place.work(), tag="one").digest == place.digest
    place.registry.add_image("t/web", "one", text="evil")
    place.digest, good = find_image(place.work(), tag="one").digest, place.digest
    assert place.digest != good
    place.attest()


def digest_swapped(place: Place) -> None:
    """Another image, with all that lies beside the good one copied to it."""
    ready(place)
    good, place.digest = place.digest, place.registry.add_image("t/web", "two", text="evil")
    tags = place.registry.manifests["t/web"]
    for name in [name for name in tags if name.startswith(tag_of(good))]:
        tags[name.replace(tag_of(good), tag_of(place.digest))] = tags[name]


def chart_changed(place: Place) -> None:
    ready(place)
    place.change("one", **{"chart/templates/x.yaml": "a: 1\n"})
    place.attest()


def operators_values_changed(place: Place) -> None:
    ready(place)
    (place.base / "more.yaml").write_text("replicas: 9\n")


def another_cluster(place: Place) -> None:
    ready(place)
    place.uid = "u-2"


def another_policy(place: Place) -> None:
    ready(place)
    place.targets(budget="100s")


def replayed(place: Place) -> None:
    ready(place)
    place.settle(place.guard())


def overtaken(place: Place) -> None:
    ready(place)
    place.settle(Use(1, "cd" * 16, "permit", "x"))


def attestations_gone(place: Place) -> None:
    """Whoever may push takes the test result away after the permit was issued."""
    place.change("one")
    place.attest()
    place.authorize()
    tags = place.registry.manifests["t/web"]
    for name in [name for name in tags if ".att" in name]:
        del tags[name]
    permit = (place.base / "permit.json").read_bytes().rstrip()
    place.put(permit)


def failing_since(place: Place) -> None:
    """The tests are run again, and fail."""
    ready(place)
    place.attest(good=False)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda place: (place.change("one"), place.attest()), "there is no permit"),
        (other_digest, "there is no permit"),
        (tag_moved_after_the_check, "there is no permit"),
        (digest_swapped, "it is for another image"),
        (chart_changed, "commit, chart"),
        (operators_values_changed, "values"),
        (another_cluster, "cluster"),
        (another_policy, "policy of targets.yaml"),
        (replayed, "used or overtaken"),
        (overtaken, "used or overtaken"),
        (attestations_gone, "no provenance proves"),
        (failing_since, "did not pass"),
    ],
)
def test_what_a_deploy_does_not_take(place: Place, prepare: Callable[[Place], object], words: str) -> None:
    prepare(place)
    refused(place.guard, words)


def test_checking_a_permit_connects_to_nothing_but_the_registry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(place)
    ports: set[int] = set()
    connect = socket.socket.connect

    def counted(self: socket.socket, address: Any) -> None:
        ports.add(address[1])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    assert place.guard()
    assert ports == {int(place.registry.host.rpartition(":")[2])}


def test_a_permit_for_another_environment(place: Place) -> None:
    ready(place)
    refused(lambda: place.guard("staging"), "environment, cluster, namespace")


def test_an_expired_permit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from cdlib.trust import permit as module

    place.change("one")
    place.attest()
    whole = module.permit_for

    def long_ago(*args: Any, **more: Any) -> Any:
        made = whole(*args, **more)
        return replace(made, issued=made.issued - timedelta(hours=1), expires=made.expires - timedelta(hours=1))

    monkeypatch.setattr(module, "permit_for", long_ago)
    place.authorize()
    refused(place.guard, "expired")


def test_a_killed_run_is_gone_on_with_and_a_finished_one_is_not(place: Place) -> None:
    ready(place)
    use = place.guard()
    place.settle(use, status="deploying")
    again = place.guard()
    assert again == replace(use, again=True) if use else False
    place.settle(use)
    refused(place.guard, "used or overtaken")


class TestRollback:
    def test_to_what_was_verified(self, place: Place) -> None:
        place.ship()
        place.settle(chart=place.digest, values=place.digest)
        made = authorize_rollback(place.permits(), place.seal(), 2)
        assert made["rolled_back_to"] == 2
        target = place.record().find(2)
        assert target
        use = place.permits().guard_rollback(target, place.record(), Deadline(60))
        assert use and use.sequence == 2

    def test_a_deploys_permit_is_none(self, place: Place) -> None:
        ready(place)
        place.settle(chart=place.digest, values=place.digest)
        target = place.record().find(1)
        assert target
        refused(lambda: place.permits().guard_rollback(target, place.record(), Deadline(60)), "is for a deploy")

    @pytest.mark.parametrize("status", ["failed", "unjudged", "interrupted"])
    def test_not_to_what_was_never_seen_healthy(self, place: Place, status: str) -> None:
        place.settle(chart=place.digest, values=place.digest, status=status)
        refused(lambda: authorize_rollback(place.permits(), place.seal(), 1), "never seen healthy")
        made = authorize_rollback(place.permits(), place.seal("break-glass", "it must be"), 1)
        assert made["permit"]["kind"] == "break-glass"

    def test_not_to_what_is_quarantined(self, place: Place) -> None:
        place.settle(chart=place.digest, values=place.digest)
        place.records().update(lambda r: r.quarantine.update({place.digest: {}}), Deadline(5))
        refused(lambda: authorize_rollback(place.permits(), place.seal(), 1), "quarantined")

    def test_quarantined_after_the_permit(self, place: Place) -> None:
        place.template.ready.restore(place)
        place.settle(chart=place.digest, values=place.digest)
        authorize_rollback(place.permits(), place.seal(), 1)
        place.records().update(lambda r: r.quarantine.update({place.digest: {}}), Deadline(5))
        target = place.record().find(1)
        assert target
        refused(lambda: place.permits().guard_rollback(target, place.record(), Deadline(60)), "quarantined")

    def test_to_nothing(self, place: Place) -> None:
        with pytest.raises(UsageProblem):
            authorize_rollback(place.permits(), place.seal(), None)

    @pytest.mark.parametrize("glass", [True, False])
    def test_not_to_what_nobody_has_reviewed(self, place: Place, glass: bool) -> None:
        """Deployed by break-glass, or while the policy was none; then something else, properly."""
        pushed(place)
        use = None
        if glass:
            place.authorize(purpose="break-glass", reason="the site is down")
            use = place.guard()
        place.settle(use, chart=place.digest, values=place.digest)
        evil = place.commit
        place.digest = place.registry.add_image("t/web", "two")
        place.settle(chart=place.digest, values=place.digest)
        problem = refused(
            lambda: authorize_rollback(place.permits(), place.seal(), 1), evil[:12], "nobody has reviewed"
        )
        assert "only by break-glass" in problem.hint
        authorize_rollback(place.permits(), place.seal("break-glass", "it must be"), 1)
        use = place.permits().guard_rollback(going_to(place, 1), place.record(), Deadline(60))
        assert use and use.loud

    def test_not_to_a_revision_that_failed_although_its_image_was_seen_healthy(self, place: Place) -> None:
        place.ship()
        place.settle(status="failed", chart=place.digest, values=place.digest)
        refused(lambda: authorize_rollback(place.permits(), place.seal(), 2), "never seen healthy itself, but failed")

    def test_without_its_permit_it_says_how_to_come_by_one(self, place: Place) -> None:
        ready(place)
        place.settle(chart=place.digest, values=place.digest)
        for number, digest in ((1, place.digest), (2, place.registry.add_image("t/web", "two"))):
            to = replace(going_to(place, 1), revision=number, digest=digest)
            problem = refused(lambda to=to: place.permits().guard_rollback(to, place.record(), Deadline(60)))  # type: ignore[misc]
            assert f"authorize-deploy --rollback --to {number}" in problem.hint and f"CD_TO={number}" in problem.hint

    @pytest.mark.parametrize("status", ["deploying", "interrupted", "failed"])
    def test_what_is_permitted_is_where_helm_rollback_goes(self, place: Place, status: str) -> None:
        """A run died over the last revision: Helm has it, and the record does not yet say that it is live."""
        place.ship()
        for _ in range(2):
            place.settle(chart=place.digest, values=place.digest)

        def change(record: Record) -> None:
            record.put(entry(4, status, commit=place.commit, image=str(place.image)))

        place.records().update(change, Deadline(5))
        made = authorize_rollback(place.permits(), place.seal(), None)
        seen = place.record()
        seen.live = 4  # as Release.read has it from Helm
        images = place.permits().release.images
        assert made["rolled_back_to"] == destination(seen, None, {1, 2, 3, 4}, images, Deadline(5)).revision == 3

    def test_to_one_whose_image_is_gone_it_is_not_permitted(self, place: Place) -> None:
        place.ship()
        place.settle(chart=place.digest, values=place.digest)
        place.settle(commit="f" * 40, chart=place.digest, values=place.digest, image=str(place.image) + "?")
        place.settle(commit="e" * 40)
        permits = place.permits()
        permits.release.images = Images(lambda image, _: not image.endswith("?"), place.run.warn)
        assert authorize_rollback(permits, place.seal(), None)["rolled_back_to"] == 2

    def test_after_the_image_moved_to_another_repository(self, place: Place) -> None:
        """What was authorized there stays so, and the permit lies where the rollback looks for it."""
        place.ship()
        place.settle(chart=place.digest, values=place.digest)
        text = (place.base / "targets.yaml").read_text().replace("/t/web", "/t/new")
        (place.base / "targets.yaml").write_text(text)
        made = authorize_rollback(place.permits(), place.seal(), 2)
        assert "/t/new@" in made["image"] and place.permits().guard_rollback(
            going_to(place, 2), place.record(), Deadline(60)
        )

    @pytest.mark.usefixtures("_signals")
    def test_one_that_succeeded_stays_one_without_its_audit_entry(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        back = Outcome("done", entry(3, rollback_of=1))
        monkeypatch.setattr(rollback, "roll_back", lambda *_, **__: back)
        monkeypatch.setattr(releases, "opened", lambda *_: nullcontext(place.permits().release))
        (place.base / "audit").mkdir()
        argv = ["-C", str(place.base / "web"), "--targets", str(place.base / "targets.yaml"), "--to", "1",
                "--audit", str(place.base / "audit")]  # fmt: skip
        assert call(argv, 0, helm_rollback.main)["rolled_back_to"] == 1


def going_to(place: Place, number: int) -> Revision:
    found = place.record().find(number)
    assert found
    return found


class TestBreakGlass:
    def test_it_works_when_nothing_else_does_and_is_loud(self, place: Place) -> None:
        place.branch.push({"values.yaml": "text: urgent\n"})
        place.take()
        (place.base / "served").rename(place.base / "away")  # Gerrit is not there
        said: list[dict[str, Any]] = []
        place.run.events.listen(said.append)
        made = place.authorize(purpose="break-glass", reason="the site is down")
        use = place.guard()
        assert use and use.loud and use.reason == "the site is down"
        assert any(event["event"] == "warning" and "the site is down" in event["text"] for event in said)
        entries = [entry for entry, _ in check(place.base / "audit")]
        assert [entry["kind"] for entry in entries] == ["break-glass", "break-glass"]
        assert made["permit"]["reason"] == "the site is down" and "verdicts" not in made

    def test_a_permit_may_be_handed_over(self, place: Place) -> None:
        ready(place)
        tags = place.registry.manifests["t/web"]
        permit = place.base / "permit.json"
        for name in [name for name in tags if ".att" in name]:
            del tags[name]
        place.attest()
        refused(place.guard, "there is no permit")
        assert place.guard(file=permit)
        with pytest.raises(UsageProblem, match="the permit"):
            place.guard(file=place.base / "none")

    def test_a_permit_that_was_handed_over_needs_nothing_beside_the_image(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody has put so much there that it is not read any more."""
        ready(place)
        ordinary = (place.base / "permit.json").read_bytes()
        monkeypatch.setattr(attached, "MOST_READ", 1)
        refused(place.guard, "attestations")
        refused(lambda: place.guard(file=place.base / "permit.json"), "attestations")
        place.authorize(purpose="break-glass", reason="the registry is full")
        use = place.guard(file=place.base / "permit.json")
        assert use and use.loud
        (place.base / "permit.json").write_bytes(ordinary.replace(b"payload", b"Payload"))
        refused(lambda: place.guard(file=place.base / "permit.json"), "no permit")

    def test_one_spoilt_push_locks_nobody_out_of_break_glass(self, place: Place) -> None:
        """A manifest that is nested too deep to be read, beside the image and under an announcement's name."""
        ready(place)
        deep = ("application/vnd.oci.image.manifest.v1+json", b'{"layers":' + b"[" * 3000 + b"]" * 3000 + b"}")
        tags = place.registry.manifests["t/web"]
        tags[f"{tag_of(place.digest)}.{'0' * 32}"] = deep
        assert place.guard()
        place.settle(place.guard())
        tags[tag_of(place.digest)] = deep
        with pytest.raises(RegistryRefused):
            place.guard()
        place.authorize(purpose="break-glass", reason="a tag is spoilt")
        use = place.guard(file=place.base / "permit.json")
        assert use and use.loud

    @pytest.mark.usefixtures("_signals")
    def test_by_hand_without_any_pipeline(
        self, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in [name for name in os.environ if name.startswith("ZUUL_") or name in ("BUILD_TAG", "CD_ZUUL")]:
            monkeypatch.delenv(name)
        pushed(place)
        with serving(Server(cluster)) as server:
            place.targets(kubeconfig=str(kubeconfig(place.base, server.url)))
            argv = ["-C", str(place.base / "web"), "--targets", str(place.base / "targets.yaml"), "-e", "production",
                    "--digest", place.digest]  # fmt: skip
            assert "no pipeline" in call(argv, Refused.exit_code)["error"]["message"]
            broken = ["--break-glass", "--reason", "down", "--signing-key", str(place.signers.file("break-glass"))]
            assert call([*argv, *broken], 0)["permit"]["kind"] == "break-glass"
            assert "may be anything" not in capsys.readouterr().err
            assert "no pipeline" in call(argv, Refused.exit_code, helm_deploy.main)["error"]["message"]
            permit = place.base / "web" / ".cd" / "permit.json"
            monkeypatch.setattr(deploying, "deploy", lambda _release, wish, guard, wait: self.guarded(place, guard))
            made = call([*argv, "--permit", str(permit)], 0, helm_deploy.main)
        assert made["permit"]["kind"] == "break-glass" and made["permit"]["reason"] == "down"

    @pytest.mark.usefixtures("_signals")
    @pytest.mark.parametrize("tree", ["the same", "another"])
    def test_by_hand_although_the_image_was_never_published(
        self, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tree: str
    ) -> None:
        """The deploy job, which publishes, is what does not work."""
        for name in [name for name in os.environ if name.startswith("ZUUL_") or name in ("BUILD_TAG", "CD_ZUUL")]:
            monkeypatch.delenv(name)
        place.branch.push({"values.yaml": "text: urgent\n"})
        place.take()
        labels = {TREE_LABEL: place.git("rev-parse", "HEAD^{tree}")} if tree == "the same" else {}
        place.digest = place.registry.add_image("t/web", "one", labels=labels, text=tree)
        tags = place.registry.manifests["t/web"]
        place.registry.manifests["t/candidates/web"] = tags.copy()
        place.registry.blobs["t/candidates/web"] = place.registry.blobs["t/web"]
        tags.clear()
        with serving(Server(cluster)) as server:
            place.targets(kubeconfig=str(kubeconfig(place.base, server.url)))
            file = place.base / "targets.yaml"
            targets = json.loads(file.read_text())
            targets["services"]["web"]["candidates"] = f"{place.registry.host}/t/candidates/web"
            file.write_text(json.dumps(targets))
            argv = ["-C", str(place.base / "web"), "--targets", str(file)]
            where = ["-e", "production", "--digest", place.digest]
            broken = ["--break-glass", "--reason", "down", "--signing-key", str(place.signers.file("break-glass"))]
            assert call([*argv, *where, *broken], 0)["permit"]["kind"] == "break-glass"
            assert "may be anything: no provenance" in capsys.readouterr().err
            permit = str(place.base / "web" / ".cd" / "permit.json")
            given = ["-e", "production", "--permit", permit]
            assert "has no" in call([*argv, *given], RegistryRefused.exit_code, helm_deploy.main)["error"]["message"]
            assert call([*argv], Refused.exit_code, publish_tag.main)["error"]["hint"], "not without the permit"
            published = call([*argv, "--permit", permit], 0, publish_tag.main)
            assert published["digest"] == place.digest and published["tag"] in tags
            assert call([*argv, "--permit", permit], 0, publish_tag.main)["outcome"] == "unchanged"
            monkeypatch.setattr(deploying, "deploy", lambda _release, wish, guard, wait: self.guarded(place, guard))
            if tree == "another":  # the commit's own tag stays free for what is built from it
                assert published["tag"] == f"break-glass-{place.digest[7:19]}"
                assert f"--digest {place.digest}" in capsys.readouterr().err
                assert (
                    "has no" in call([*argv, *given], RegistryRefused.exit_code, helm_deploy.main)["error"]["message"]
                )
                given += ["--digest", place.digest]
            assert call([*argv, *given], 0, helm_deploy.main)["permit"]["kind"] == "break-glass"

    @pytest.mark.usefixtures("_signals")
    @pytest.mark.parametrize("spoil", ["another commit", "expired", "by a stranger", "another image", "a rollback's"])
    def test_what_no_permit_lets_be_published(self, place: Place, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
        ready(place)
        record = place.record()
        asked = asked_deploy(place.permits(), place.work(), record, place.digest, "")
        asked = replace(asked, commit="c" * 40) if spoil == "another commit" else asked
        asked = replace(asked, image="r.test/other") if spoil == "another image" else asked
        asked = replace(asked, action=ROLLBACK) if spoil == "a rollback's" else asked
        permit = permit_for(asked, Spent(), by="me", reason="down")
        if spoil == "expired":
            permit = replace(
                permit, issued=permit.issued - timedelta(hours=1), expires=permit.expires - timedelta(hours=1)
            )
        raw = issue(permit, place.signers.key("stranger" if spoil == "by a stranger" else "break-glass"))
        (place.base / "given.json").write_bytes(raw)
        argv = ["-C", str(place.base / "web"), "--targets", str(place.base / "targets.yaml")]
        before = set(place.registry.manifests["t/web"])
        refused = call([*argv, "--permit", str(place.base / "given.json")], Refused.exit_code, publish_tag.main)
        assert refused["error"]["hint"] and set(place.registry.manifests["t/web"]) == before

    @staticmethod
    def guarded(place: Place, guard: Any) -> Outcome:
        work = place.work()
        assert work.target
        with prepare_chart(Helm(place.run, work.target.environment("production")), work.source, work.service.deploy,
                           work.target, work.target.environment("production"), place.run.deadline) as chart:  # fmt: skip
            wish = SimpleNamespace(source=work.source, service=work.service, image=place.image)
            assert guard(SimpleNamespace(wish=wish, chart=chart), Record("web", "web"), place.run.deadline)
        return Outcome("done", entry(1))

    def test_an_ordinary_permit_is_taken_first(self, place: Place) -> None:
        ready(place)
        place.authorize(purpose="break-glass", reason="to be sure")
        use = place.guard()
        assert use and not use.loud


@pytest.mark.parametrize(
    ("key", "more", "words"),
    [
        ("permit", {"break_glass": True, "reason": "x"}, "keys.break-glass"),
        ("break-glass", {"break_glass": False, "reason": ""}, "keys.permit"),
        ("break-glass", {"break_glass": True, "reason": " "}, "takes a reason"),
        ("break-glass", {"break_glass": True, "reason": "x" * 1001}, "has 1001 characters, and a permit takes 1000"),
        ("break-glass", {"break_glass": True, "reason": "d\udcfcrr"}, "no UTF-8"),
        ("stranger", {"break_glass": False, "reason": ""}, "keys.permit"),
        ("", {"break_glass": False, "reason": ""}, "no key is given"),
    ],
)
def test_keys_that_no_deploy_would_believe(signers: Signers, key: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        open_seal(signers.ring, signers.file(key) if key else None, **more)


def test_a_reason_may_be_as_long_as_a_permit_takes(place: Place) -> None:
    pushed(place)
    open_seal(place.signers.ring, place.signers.file("break-glass"), break_glass=True, reason="ü" * 1000)
    place.authorize(purpose="break-glass", reason="ü" * 1000)
    assert place.guard() is not None


def test_a_permit_that_no_deploy_would_take_is_not_issued(place: Place) -> None:
    pushed(place)
    before = set(place.registry.manifests["t/web"])
    with pytest.raises(UsageProblem, match="no deploy would take the permit .* its reason is no text"):
        place.authorize(purpose="break-glass", reason="x" * 1001)
    assert set(place.registry.manifests["t/web"]) == before and not (place.base / "audit").exists()


def test_a_dry_run_signs_nothing(place: Place) -> None:
    place.change("one")
    place.attest()
    before = set(place.registry.manifests["t/web"])
    place.run.dry_run = True
    assert "would be permitted" in place.authorize()["text"]
    assert set(place.registry.manifests["t/web"]) == before and not (place.base / "audit").exists()


def test_without_its_audit_entry_there_is_no_permit(place: Place) -> None:
    place.change("one")
    place.attest()
    before = set(place.registry.manifests["t/web"])
    (place.base / "audit").mkdir()
    with pytest.raises(CdError):
        place.authorize()
    assert set(place.registry.manifests["t/web"]) == before


def test_an_unreachable_gerrit_or_registry_is_never_a_pass(place: Place) -> None:
    place.change("one")
    place.attest()
    (place.base / "served").rename(place.base / "away")
    with pytest.raises(CdError) as caught:
        place.authorize()
    assert caught.value.exit_code in (2, 69)
    (place.base / "away").rename(place.base / "served")
    place.authorize()
    place.registry.auth = lambda _seen: (503, {}, b"")
    place.run.deadline = Deadline(3)
    with pytest.raises(CdError) as caught:
        place.guard()
    assert caught.value.exit_code in (69, 70)


@pytest.mark.usefixtures("_signals")
def test_the_command_from_its_options_to_its_result(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the authorize job calls it, with a cluster that has no record yet."""
    place.change("one")
    place.attest()

    for name, value in (("ZUUL_UUID", "u"), ("ZUUL_PIPELINE", GATE), ("ZUUL_PROJECT", "web"),
                        ("CD_SIGNING_KEY", str(place.signers.file("permit")))):  # fmt: skip
        monkeypatch.setenv(name, value)
    with serving(Server(cluster)) as server:
        place.targets(kubeconfig=str(kubeconfig(place.base, server.url)))
        argv = ["-C", str(place.base / "web"), "--targets", str(place.base / "targets.yaml"), "-e", "production",
                "--digest", place.digest, "--audit", str(place.base / "audit")]  # fmt: skip
        monkeypatch.delenv("ZUUL_PIPELINE")
        assert call(argv, UsageProblem.exit_code)
        monkeypatch.setenv("ZUUL_PIPELINE", "check")
        assert "refused in the pipeline" in call(argv, Refused.exit_code)["error"]["message"]
        monkeypatch.setenv("ZUUL_PIPELINE", GATE)
        made = call(argv, 0)
        assert made["permit"]["kind"] == "permit" and made["sequence"] == 1 and made["environment"] == "production"
        assert not schema_mistakes(made, "result")
        broken = ["--break-glass", "--reason", "down", "--signing-key", str(place.signers.file("break-glass"))]
        assert call([*argv, *broken], 0)["permit"]["kind"] == "break-glass"
        assert "no other revision" in call([*argv, "--rollback"], UsageProblem.exit_code)["error"]["message"]
    assert place.guard()
    assert [entry["event"] for entry, _ in check(place.base / "audit")] == ["permit", "permit", "spent"]


def cluster(seen: Seen) -> tuple[int, dict[str, str], bytes]:
    """A cluster with nothing but the namespace."""
    found = seen.path == "/api/v1/namespaces/web"
    body = {"metadata": {"name": "web", "uid": "u-1"}} if found else {"kind": "Status", "message": "not found"}
    return 200 if found else 404, {"Content-Type": "application/json"}, json.dumps(body).encode()


def call(argv: list[str], code: int, command: Any = authorize_command.main) -> dict[str, Any]:
    """The result of a command, which ends with `code`."""
    with pytest.raises(SystemExit) as caught:
        command.main(argv)
    assert caught.value.code == code
    result: dict[str, Any] = json.loads((Path(argv[1]) / ".cd" / "cd-result.json").read_text())
    return result
