"""What counts as reviewed: every history of the corpus gets its verdict, and a refusal says why."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from histories import ATTACKS, LEGITIMATE, POLICY, Scene, build
from notedb import ACCOUNTS, SID, World, requirement

from cdlib.deadline import Deadline
from cdlib.errors import Refused, UsageProblem
from cdlib.target import read_target
from cdlib.trust import objects
from cdlib.trust.case import Law
from cdlib.trust.identity import Account, People
from cdlib.trust.notedb import Server
from cdlib.trust.objects import Repository
from cdlib.trust.records import Records, read_records
from cdlib.trust.review import Court, Request, Verdict, authorize, carried, review
from cdlib.trust.reviewed import authorize_reviewed
from cdlib.trust.tampering import Alarm

SERVER = Server(SID, "gerrit@example.com")
PEOPLE = People(
    {
        number: Account(number, name, frozenset([f"{name}@example.com", f"{name}@home.example.org"]), name != "erin")
        for name, number in ACCOUNTS.items()
    },
    (("bob", "bobs-other"),),
)


@dataclass
class Corpus:
    """Every history in one repository, with all of their records read at once."""

    world: World
    repository: Repository
    scenes: dict[str, Scene]
    ranges: dict[str, list[str]]
    records: Records

    def request(self, name: str) -> Request:
        branch = self.scenes[name].branch
        return Request(branch.head, branch.base, self.scenes[name].authorized)

    def law(self, name: str) -> Law:
        return Law(self.scenes[name].law, PEOPLE, SERVER)

    def verdicts(self, name: str) -> list[Verdict]:
        court = Court(self.records, self.law(name), self.request(name), {})
        return [court.verdict(commit) for commit in self.ranges[name]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    world = World(tmp_path_factory.mktemp("world") / "hello.git")
    makers = {**LEGITIMATE, **{name: make for name, (_, _, make) in ATTACKS.items()}}
    scenes = {name: build(world, name, make) for name, make in makers.items()}
    world.save()
    repository = Repository(world.folder, Deadline(60))
    ranges = {name: after(world, scene) for name, scene in scenes.items()}
    records = read_records(repository, [commit for commits in ranges.values() for commit in commits], SERVER)
    return Corpus(world, repository, scenes, ranges, records)


def after(world: World, scene: Scene) -> list[str]:
    """The commits of a branch after its first, parents first, without a program."""
    found: list[str] = []

    def visit(commit: str) -> None:
        if commit != scene.branch.base and commit not in found:
            for parent in world.parents[commit]:
                visit(parent)
            found.append(commit)

    visit(scene.branch.head)
    return found


def test_the_corpus_is_large_enough() -> None:
    assert len(ATTACKS) >= 60 and len(LEGITIMATE) >= 25


@pytest.mark.parametrize("name", LEGITIMATE)
def test_a_legitimate_history_is_accepted(corpus: Corpus, name: str) -> None:
    verdicts = corpus.verdicts(name)
    assert verdicts and [(v.change, p.text) for v in verdicts for p in v.problems] == []
    for verdict in verdicts:
        voters = ["Code-Review+2 bob", *(["Verified+2 zuul"] if corpus.law(name).policy.verifications else [])]
        assert verdict.basis != "change" or (list(verdict.voters) == voters and len(verdict.records) == 1)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_reason(corpus: Corpus, name: str) -> None:
    link, words, _ = ATTACKS[name]
    problems = [problem for verdict in corpus.verdicts(name) if verdict.refused for problem in verdict.problems]
    assert any(problem.link == link and words in problem.text for problem in problems), problems
    assert all(problem.remedy for problem in problems)
    assert all(not verdict.voters for verdict in corpus.verdicts(name) if verdict.refused)


@pytest.mark.parametrize(
    "name", ["a_long_stack", "merged_beside_the_tip", "an_evil_merge", "forced", "authorized_before"]
)
def test_all_of_it_together(corpus: Corpus, name: str) -> None:
    found = review(corpus.repository, corpus.request(name), corpus.law(name))
    assert sorted(found, key=lambda v: v.commit) == sorted(corpus.verdicts(name), key=lambda v: v.commit)
    if name in ATTACKS:
        with pytest.raises(Refused, match=ATTACKS[name][1]):
            authorize(corpus.repository, corpus.request(name), corpus.law(name))
    else:
        assert authorize(corpus.repository, corpus.request(name), corpus.law(name)) == found


def test_what_has_nothing_to_be_judged_by(corpus: Corpus) -> None:
    request, law = corpus.request("plain"), corpus.law("plain")
    cases = [
        (replace(request, live=""), "nothing is live, and no commit is named"),
        (replace(request, commit=corpus.request("forced").commit), "is not on the branch plain"),
        (replace(request, commit="1" * 40), "is not on the branch plain"),
        (replace(request, live=corpus.request("forced").commit), "does not follow"),
        (replace(request, live="1" * 40), "does not follow 111111111111"),
    ]
    for case, words in cases:
        with pytest.raises(Refused, match=words) as caught:
            review(corpus.repository, case, law)
        assert caught.value.hint
    for bad in ("HEAD", "--all", request.commit[:12]):
        with pytest.raises(UsageProblem, match="no whole commit id"):
            review(corpus.repository, replace(request, commit=bad), law)


def test_a_commit_to_begin_with_that_nobody_has_is_a_mistake_in_targets_yaml(corpus: Corpus) -> None:
    request, law = corpus.request("plain"), corpus.law("plain")
    tree = corpus.world.tree({"base": "plain\n"})  # is there, and is no commit
    for since in ("1" * 40, tree):
        for live in ("", request.live):
            wrong = replace(law, policy=replace(law.policy, since=since))
            with pytest.raises(UsageProblem, match=f"review.since, {since[:12]}, is no commit") as caught:
                review(corpus.repository, replace(request, live=live), wrong)
            assert "targets.yaml" in caught.value.hint
    elsewhere = replace(law, policy=replace(law.policy, since=corpus.request("forced").commit))
    with pytest.raises(Refused, match="does not follow"):
        review(corpus.repository, request, elsewhere)


def test_reviews_count_from_a_commit_that_the_operators_name(corpus: Corpus) -> None:
    scene = corpus.scenes["a_direct_push_hidden_below_the_tip"]
    pushed = corpus.ranges["a_direct_push_hidden_below_the_tip"][0]
    law = replace(corpus.law("a_direct_push_hidden_below_the_tip"), policy=replace(scene.law, since=pushed))
    found = authorize(corpus.repository, Request(scene.branch.head), law)
    assert [verdict.basis for verdict in found] == ["change"]
    assert carried(corpus.repository, Request(scene.branch.head, scene.branch.base), law) == [scene.branch.head]
    assert authorize(corpus.repository, Request(scene.branch.head, scene.branch.head), law) == []


def test_what_the_mirror_has_found_changed(corpus: Corpus) -> None:
    request, law = corpus.request("plain"), corpus.law("plain")
    change = corpus.verdicts("plain")[0].change
    assert authorize(corpus.repository, request, law, [Alarm(99_999, "redacted", "another's", stops=False)])
    with pytest.raises(Refused, match=f"commit .* .change {change}, patchset 1.: rewritten") as caught:
        authorize(corpus.repository, request, law, [Alarm(change, "redacted", "rewritten", stops=False)])
    assert "docs/trust.md" in caught.value.hint
    with pytest.raises(Refused, match="^gone$"):
        authorize(corpus.repository, request, law, [Alarm(99_999, "gone", "gone", stops=True)])


def test_a_refusal_tells_of_every_link(corpus: Corpus) -> None:
    with pytest.raises(Refused) as caught:
        authorize(corpus.repository, corpus.request("forced"), corpus.law("forced"))
    problem, verdict = caught.value, corpus.verdicts("forced")[0]
    name = f"commit {verdict.commit[:12]} (change {verdict.change}, patchset 1)"
    assert problem.message == f"{name}: it was forced: somebody pushed it with %submit, past the conditions"
    assert problem.details[1] == f"{name}: Code-Review +2 is missing: nobody has voted so on patchset 1"
    assert "it needed Code-Review +2 of bob, carol, erin; now look at it" in problem.hint
    document = json.loads(json.dumps(verdict.document()))
    assert document["verdict"] == "refused" and document["problems"][0]["link"] == "submission"
    accepted = corpus.verdicts("plain")[0].document()
    assert accepted["verdict"] == "accepted" and accepted["voters"] == ("Code-Review+2 bob", "Verified+2 zuul")


def test_what_is_too_large_is_refused(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    request, law = corpus.request("plain"), corpus.law("plain")
    monkeypatch.setattr(objects, "LARGEST_COMMIT", 100)
    with pytest.raises(Refused, match="larger than a commit may be"):
        authorize(corpus.repository, request, law)
    monkeypatch.setattr(objects, "LARGEST_COMMIT", 380)  # of the change's records, those of votes are smaller
    with pytest.raises(Refused, match="is missing or too large"):
        authorize(corpus.repository, request, law)


def test_results_that_are_too_large_are_refused_as_such(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LARGEST_NOTE", 100)
    with pytest.raises(Refused, match="submit requirements cannot be read: .* is more than 24 MiB"):
        authorize(corpus.repository, corpus.request("plain"), corpus.law("plain"))


def test_results_that_are_too_large_are_not_made_up_for_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forced merge, whose results comments have made too large, with good results under the patchset that it made."""
    world = World(tmp_path / "hello.git")
    branch = world.branch("master")
    made = branch.change({"a": "1\n"}).approve()
    made.submit(kind="rebase")
    flood = [requirement("Code-Review", forced=True), {**requirement("Legal"), "comments": "x" * 2000}]
    for patchset, results in ((1, flood), (2, [requirement("Code-Review")])):
        made.notes[made.commits[patchset]] = {"submitRequirementResults": results}
    text = world.objects[made.meta][1].decode()
    world.ref(made.meta_ref, world.put("commit", f"tree {made._tree()}{text[text.index(chr(10)) :]}".encode()))
    world.save()
    request, law = Request(branch.head, branch.base), Law(POLICY, PEOPLE, SERVER)
    with pytest.raises(Refused, match="was forced"):
        authorize(Repository(world.folder, Deadline(60)), request, law)
    monkeypatch.setattr(objects, "LARGEST_NOTE", 2000)
    with pytest.raises(Refused, match="is more than 24 MiB"):
        authorize(Repository(world.folder, Deadline(60)), request, law)


def test_an_open_change_whose_records_the_mirror_does_not_follow(corpus: Corpus) -> None:
    name = "the_commit_of_an_open_change"
    change = corpus.verdicts(name)[0].change
    alarms = [Alarm(change, "redacted", "rewritten", stops=False)]
    with pytest.raises(Refused, match=f"change {change}, patchset 1.: rewritten$") as caught:
        authorize(corpus.repository, corpus.request(name), corpus.law(name), alarms)
    assert "docs/trust.md" in caught.value.hint and "run this again" not in caught.value.hint


def test_nothing_in_the_repository_misleads_git(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced objects, grafts, merge drivers and renames as the configuration wants them."""
    name = "an_evil_merge"
    expected = review(corpus.repository, corpus.request(name), corpus.law(name))
    head, base = corpus.request(name).commit, corpus.request(name).live
    folder = corpus.repository.folder
    (folder / "refs" / "replace").mkdir(parents=True)
    (folder / "refs" / "replace" / head).write_text(f"{base}\n")
    (folder / "info").mkdir()
    (folder / "info" / "grafts").write_text(f"{head} {base}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "config"))
    assert review(corpus.repository, corpus.request(name), corpus.law(name)) == expected
    assert [verdict.refused for verdict in expected] == [False, False, True]


def test_the_question_that_the_authorizer_asks(corpus: Corpus, tmp_path: Path) -> None:
    """From targets.yaml to the verdicts, by a mirror of a server."""
    accounts = [{"_account_id": number, "username": name, "email": f"{name}@example.com",
                 "secondary_emails": [f"{name}@home.example.org"]} for name, number in ACCOUNTS.items()]  # fmt: skip
    (tmp_path / "accounts.json").write_text(json.dumps(accounts))
    text = f"""
version: 1
gerrit: {{url: "file://{corpus.repository.folder.parent}", server_id: {SID}, mail: gerrit@example.com,
          accounts: [accounts.json], mirrors: mirrors}}
environments: {{production: {{}}}}
services:
  hello.git:
    image: r.test/hello
    review: {{branch: BRANCH, approvers: [bob, carol], verifiers: [zuul]}}
    environments: {{production: {{namespace: p, release: hello}}}}
""".replace("hello.git:", "hello:\n    project: hello.git")

    def ask(name: str) -> list[Verdict]:
        (tmp_path / "targets.yaml").write_text(text.replace("BRANCH", name))
        target = read_target(tmp_path / "targets.yaml", "hello")
        return authorize_reviewed(target, corpus.request(name), Deadline(60))

    assert [verdict.basis for verdict in ask("merged_beside_the_tip")] == ["change", "change", "merge"]
    with pytest.raises(Refused, match="alice is not on the list"):
        ask("alice_votes_for_herself")
    (tmp_path / "targets.yaml").write_text(
        text[: text.index("    review:")] + text[text.index("    environments: {prod") :]
    )
    with pytest.raises(UsageProblem, match="has no services.hello.review"):
        authorize_reviewed(read_target(tmp_path / "targets.yaml", "hello"), corpus.request("plain"), Deadline(60))
