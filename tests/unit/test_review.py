"""What counts as reviewed: every history of the corpus gets its verdict, and a refusal says why."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from histories import ATTACKS, LEGITIMATE, Scene, build
from notedb import ACCOUNTS, SID, World

from cdlib.deadline import Deadline
from cdlib.errors import Refused
from cdlib.trust.identity import Account, People
from cdlib.trust.judge import Law
from cdlib.trust.notedb import Server
from cdlib.trust.objects import Repository
from cdlib.trust.records import Records, read_records
from cdlib.trust.review import Court, Request, Verdict, authorize, review

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
