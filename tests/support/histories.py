"""Histories of changes with the verdict that each must get: legitimate ones, and attacks on a reviewed branch.

Each is a function that makes a branch of its own. An attack names the link that must break, and words of the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from notedb import SERVER, SID, Branch, Change, World, ident, ready, requirement

from cdlib.review_policy import ReviewPolicy

POLICY = ReviewPolicy(approvers=frozenset(["bob", "carol", "erin"]), verifiers=frozenset(["zuul"]))


@dataclass
class Scene:
    """A branch with what was done to it. Everything after `base` is judged."""

    branch: Branch
    policy: ReviewPolicy = POLICY
    authorized: list[str] = field(default_factory=list)

    @property
    def law(self) -> ReviewPolicy:
        return replace(self.policy, branch=self.branch.name)


Build = Callable[[Branch], ReviewPolicy | list[str] | None]
LEGITIMATE: dict[str, Build] = {}
ATTACKS: dict[str, tuple[str, str, Build]] = {}


def build(world: World, name: str, make: Build) -> Scene:
    """The branch with the history on it."""
    scene = Scene(world.branch(name))
    more = make(scene.branch)
    if isinstance(more, ReviewPolicy):
        scene.policy = more
    elif more:
        scene.authorized = more
    return scene


def legitimate(make: Build) -> Build:
    LEGITIMATE[make.__name__] = make  # type: ignore[attr-defined]
    return make


def attack(link: str, words: str) -> Callable[[Build], Build]:
    def register(make: Build) -> Build:
        ATTACKS[make.__name__] = (link, words, make)  # type: ignore[attr-defined]
        return make

    return register


def change(branch: Branch, **options: object) -> Change:
    """A change that adds a file of its own."""
    number = branch.world._number + 1
    return branch.change({f"f{number}": f"{number}\n"}, **options)


# Legitimate histories


@legitimate
def plain(branch: Branch) -> None:
    change(branch).approve().submit()


@legitimate
def a_vote_that_grew(branch: Branch) -> None:
    made = change(branch)
    made.vote("bob", 1)
    made.approve().submit()


@legitimate
def a_vote_taken_back_and_given_again(branch: Branch) -> None:
    made = change(branch).approve()
    made.vote("bob", 0)
    made.vote("bob", 2)
    made.submit()


@legitimate
def a_vote_deleted_and_given_again(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("bob", ["Label: -Code-Review"])
    made.vote("bob", 2)
    made.submit()


@legitimate
def a_reviewer_removed_who_comes_back_and_votes(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("admin", [f"Removed: {ident('bob')}"])
    made.record("alice", [f"Reviewer: {ident('bob')}"])
    made.vote("bob", 2)
    made.submit()


@legitimate
def a_vote_as_the_change_is_pushed(branch: Branch) -> None:
    number = branch.world._number + 1
    made = change(branch, by="alice", more=["Label: Verified=+1, " + "0" * 40, f"CC: {ident('carol')}"])
    assert made.number == number
    made.approve().submit()


@legitimate
def merged_beside_the_tip(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    two.submit(kind="merge")


@legitimate
def a_merge_of_two_parts_of_one_file(branch: Branch) -> None:
    text = [f"{n}\n" for n in range(12)]
    first = branch.change({"long": "".join(text)}).approve()
    first.submit()
    top, bottom = ["x\n", *text[1:]], [*text[:-1], "y\n"]
    one, two = (branch.change({"long": "".join(side)}).approve() for side in (top, bottom))
    one.submit()
    two.submit(kind="merge", files={**branch.world.files[branch.head], "long": "".join(["x\n", *text[1:-1], "y\n"])})


@legitimate
def a_file_added_to_a_folder_that_was_renamed(branch: Branch) -> None:
    world, files = branch.world, {str(n): "".join(f"{n * k}\n" for k in range(9)) for n in range(4)}
    branch.change({f"old/{name}": text for name, text in files.items()}).approve().submit()
    added = branch.change({"old/new": "new\n"}).approve()
    renamed = change(branch)
    moved = {"base": world.files[branch.base]["base"], **{f"new/{name}": text for name, text in files.items()}}
    renamed.upload(world.commit(moved, [branch.head], message="rename\n"), "alice")
    renamed.approve().submit()
    added.submit(kind="merge", files={**moved, "old/new": "new\n"})


@legitimate
def rebased_as_it_was_submitted(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    two.submit(kind="rebase")


@legitimate
def rebased_always_with_trailers(branch: Branch) -> None:
    made = change(branch).approve()
    made.submit(kind="rebase", trailers=TRAILERS)


@legitimate
def picked_with_trailers_of_other_labels(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    two.vote("carol", 1, "Design")
    one.submit(kind="pick", trailers=TRAILERS)
    two.submit(kind="pick", trailers=[*TRAILERS, "Design: Carol <carol@example.com>"])


def signature(name: str = "gpgsig", text: str = "one") -> str:
    """The header of a commit that its author signed."""
    return f"{name} -----BEGIN SSH SIGNATURE-----\n \n {text}\n -----END SSH SIGNATURE-----\n"


@legitimate
def signed_by_its_author_and_rebased_as_it_was_submitted(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch, headers=signature()).approve()
    one.submit()
    two.submit(kind="rebase")


@legitimate
def signed_by_its_author_and_picked(branch: Branch) -> None:
    headers = f"encoding UTF-8\n{signature('gpgsig-sha256')}x-more 1\n"
    made = change(branch, headers=headers).approve()
    made.submit(kind="pick", trailers=TRAILERS, headers="encoding UTF-8\nx-more 1\n")


@legitimate
def signed_anew_after_a_trivial_rebase(branch: Branch) -> None:
    made = change(branch, headers=signature()).approve()
    change(branch).approve().submit()
    copied = [made.copied("bob"), made.copied("zuul", "Verified")]
    made.rework({}, onto=branch.head, copied=copied, headers=signature(text="two"))
    made.submit()


@legitimate
def a_message_without_a_paragraph_of_trailers(branch: Branch) -> None:
    world = branch.world
    made = change(branch, subject="One line")
    commit = world.commit({**world.files[made.commit]}, [branch.head], message="One line")
    made.upload(commit, "alice")
    made.approve().submit(kind="pick", trailers=["", "", *TRAILERS, f"Change-Id: {made.change_id}"][1:])


@legitimate
def a_stack_submitted_at_once(branch: Branch) -> None:
    one = change(branch).approve()
    two = change(branch, onto=one.commit).approve()
    one.submit()
    two.submit()


@legitimate
def a_long_stack(branch: Branch) -> None:
    made = change(branch).approve()
    stack = [made]
    for _ in range(12):
        made = change(branch, onto=made.commit).approve()
        stack.append(made)
    for each in stack:
        each.submit()


@legitimate
def the_child_of_a_stack_picked_alone(branch: Branch) -> None:
    parent = change(branch)
    change(branch, onto=parent.commit).approve().submit(kind="pick")


@legitimate
def a_merge_as_a_change_whose_sides_were_reviewed(branch: Branch) -> None:
    base = branch.head
    one, two = change(branch, onto=base).approve(), change(branch, onto=base).approve()
    one.submit()
    two.close("zuul", ready())
    both = branch.world.files[one.commit] | branch.world.files[two.commit]
    branch.change({**both, "extra": "reviewed\n"}, parents=[one.commit, two.commit]).approve().submit()


@legitimate
def a_revert_made_by_gerrit(branch: Branch) -> None:
    change(branch).approve().submit()
    branch.change({"base": "back\n"}, by="carol", committer=SERVER, more=["Revert-of: 1"]).approve().submit()


@legitimate
def moved_and_voted_on_afterwards(branch: Branch) -> None:
    made = change(branch)
    made.record("alice", ["Branch: refs/heads/elsewhere"])
    made.record("alice", [f"Branch: {branch.ref}"])
    made.approve().submit()


@legitimate
def unfinished_private_abandoned_and_restored(branch: Branch) -> None:
    made = change(branch).approve()
    for footers in (["Work-in-progress: true"], ["Status: abandoned", "Work-in-progress: false"], ["Private: true"],
                    ["Status: new"], ["Hashtags: a,b", "Attention: {\"person_ident\":\"x\"}", "Topic: t"]):  # fmt: skip
        made.record("alice", footers)
    made.submit()


@legitimate
def a_trivial_rebase_keeps_the_vote(branch: Branch) -> None:
    made = change(branch).approve()
    change(branch).approve().submit()
    made.rework(
        {}, onto=branch.head, copied=[made.copied("bob"), made.copied("zuul", "Verified", tag='autogenerated:"zuul"')]
    )
    made.submit()


@legitimate
def two_trivial_rebases_keep_the_vote(branch: Branch) -> None:
    made = change(branch).approve()
    for number in (2, 3):
        change(branch).approve().submit()
        made.rework({}, onto=branch.head, copied=[made.copied("bob"), made.copied("zuul", "Verified")])
        assert made.patchset == number
    made.submit(kind="merge", files=branch.world.files[made.commit])


@legitimate
def the_same_again_keeps_the_vote(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({}, copied=[made.copied("bob"), made.copied("zuul", "Verified")])
    made.submit()


@legitimate
def another_message_keeps_what_machines_found(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({}, message=f"Better words\n\nChange-Id: {made.change_id}\n", copied=[made.copied("zuul", "Verified")])
    made.vote("bob", 2)
    made.submit()


@legitimate
def votes_after_the_merge_change_nothing(branch: Branch) -> None:
    made = change(branch).approve()
    made.submit()
    made.vote("carol", -2)
    made.record("admin", [f"Label: -Code-Review {ident('bob')}"])


@legitimate
def one_of_two_approvers_took_part(branch: Branch) -> None:
    made = change(branch, by="carol")
    made.vote("carol", 2)
    made.approve().submit()


@legitimate
def a_reservation_is_no_veto(branch: Branch) -> None:
    made = change(branch).approve()
    made.vote("dave", -1)
    made.submit()


@legitimate
def a_veto_withdrawn(branch: Branch) -> None:
    made = change(branch)
    made.vote("carol", -2)
    made.vote("carol", 0)
    made.approve().submit()


@legitimate
def a_veto_on_an_older_patchset(branch: Branch) -> None:
    made = change(branch)
    made.vote("carol", -2)
    made.rework({"better": "1\n"})
    made.approve().submit()


@legitimate
def edited_in_the_browser(branch: Branch) -> None:
    made = change(branch)
    made.rework({"edited": "1\n"}, by="carol", author="alice")
    made.approve().submit()


@legitimate
def rebased_by_somebody_for_its_uploader(branch: Branch) -> None:
    made = change(branch)
    change(branch).approve().submit()
    made.rework({}, onto=branch.head, real="carol")
    made.approve().submit()


@legitimate
def records_forged_in_a_comment(branch: Branch) -> None:
    made = change(branch).approve()
    body = f"Done\n\nPatch-set: 1\nLabel: Code-Review=-2, {'1' * 40}\nStatus: abandoned\n"
    made.record("dave", [], body=body)
    made.submit()


@legitimate
def a_record_after_two_empty_lines(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("dave", [], body="Copied Votes:\n* none\n")
    made.submit()


@legitimate
def a_subject_with_other_ends_of_lines(branch: Branch) -> None:
    change(
        branch, subject="x\u2028Label: Code-Review=-2\x85Status: merged\x0bLabel: Verified=-2\x0cx"
    ).approve().submit()


@legitimate
def gerrit_itself_abandons_and_somebody_restores(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("bob", ["Status: abandoned"], author=SERVER)
    made.record("alice", ["Status: new"])
    made.submit()


@legitimate
def authorized_before(branch: Branch) -> list[str]:
    return [branch.push({"x": "1\n"})]


@legitimate
def accepted_by_the_operators(branch: Branch) -> ReviewPolicy:
    return replace(POLICY, accept=frozenset([branch.push({"x": "1\n"})]))


@legitimate
def merged_from_a_branch_that_may(branch: Branch) -> ReviewPolicy:
    side = branch.world.branch("side")
    side.move(branch.head)
    change(side).approve().submit()
    change(branch).approve().submit()
    both = branch.world.files[branch.head] | branch.world.files[side.head]
    branch.change(both, parents=[branch.head, side.head]).approve().submit()
    return replace(POLICY, merged_from=("side",))


@legitimate
def a_mail_in_capitals_and_a_second_one(branch: Branch) -> None:
    change(branch, author="A <ALICE@example.com>", committer="A <alice@home.example.org>").approve().submit()


@legitimate
def a_requirement_that_does_not_apply(branch: Branch) -> None:
    results = [requirement("Legal", applicable=False, met=False), requirement("Code-Review", override=False)]
    change(branch).approve().submit(results=results)


@legitimate
def pushed_again_for_another_branch(branch: Branch) -> None:
    made = change(branch).approve()
    world, commit = branch.world, made.commit
    other = Change(branch, world.number(), "I1")
    other.upload(commit, "alice", ["Branch: refs/heads/other", "Status: new"])
    made.submit()


@legitimate
def merged_on_another_branch_before(branch: Branch) -> None:
    elsewhere = branch.world.branch("stable")
    elsewhere.move(branch.head)
    made = change(elsewhere)
    made.submit()
    again = Change(branch, branch.world.number(), "I1")
    again.upload(made.commit, "alice", [f"Branch: {branch.ref}", "Status: new"])
    again.approve().submit()


@legitimate
def gerrits_own_merge_pushed_again_for_another_branch(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    merge = two.submit(kind="merge")
    other = Change(branch, branch.world.number(), "I1")
    other.upload(merge, "dave", ["Branch: refs/heads/other", "Status: new"])


def _pushed_again(branch: Branch, commit: str, ref: str = "refs/heads/other") -> Change:
    """The same commit as a change for another branch, whose records cannot be read."""
    other = Change(branch, branch.world.number(), "I1")
    other.upload(commit, "dave", [f"Branch: {ref}", "Status: new"])
    other.record("dave", ["Unheard-of: yes"])
    return other


@legitimate
def pushed_again_for_another_branch_with_records_that_cannot_be_read(branch: Branch) -> None:
    made = change(branch).approve()
    made.submit()
    _pushed_again(branch, made.commit)


@legitimate
def gerrits_own_merge_pushed_again_with_records_that_cannot_be_read(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    _pushed_again(branch, two.submit(kind="merge"))


@legitimate
def a_flood_of_comments_beside_the_results(branch: Branch) -> None:
    """90 comments of 16,000 characters each of which Gerrit writes by six: less than half of what it lets through."""
    flood = {"comments": "\x01" * 90 * 16_000}
    change(branch).approve().submit(results=[requirement("Code-Review"), {**requirement("Legal"), **flood}])


@legitimate
def no_machine_is_asked(branch: Branch) -> ReviewPolicy:
    change(branch).approve(verifier="").submit()
    return replace(POLICY, verifications={})


TRAILERS = ["Reviewed-on: http://gerrit.example.com/c/x/+/1", "Reviewed-by: Bob <bob@example.com>",
            "Tested-by: Zuul <zuul@example.com>"]  # fmt: skip

# Attacks: who votes


@attack("votes", "alice is not on the list")
def alice_votes_for_herself(branch: Branch) -> None:
    change(branch).approve("alice").submit()


@attack("votes", "bob uploaded patchset 1")
def an_approver_votes_for_himself(branch: Branch) -> None:
    change(branch, by="bob").approve().submit()


@attack("votes", "carol is the author of patchset 1")
def the_author_votes_on_what_another_uploads(branch: Branch) -> None:
    change(branch, author="carol", committer="bob").approve("carol").submit()


@attack("votes", "bob is the committer of patchset 1")
def the_committer_votes(branch: Branch) -> None:
    change(branch, committer="bob").approve().submit()


@attack("identity", "nobody's mail: 'carol@private.example.net'")
def the_author_hides_behind_an_unknown_mail(branch: Branch) -> None:
    change(branch, author="C <carol@private.example.net>").approve("carol").submit()


@attack("identity", "the author of patchset 1 is nobody's mail: 'gerrit@example.com'")
def the_author_hides_behind_gerrits_own_mail(branch: Branch) -> None:
    change(branch, author=SERVER).approve("carol").submit()


@attack("records", "names nobody in")
def an_author_with_two_mails(branch: Branch) -> None:
    change(branch, author="C <carol@example.com> <alice@example.com>").approve("carol").submit()


@attack("votes", "bob is the author of patchset 1")
def the_author_used_his_second_mail(branch: Branch) -> None:
    change(branch, author="B <bob@home.example.org>").approve().submit()


@attack("votes", "bob uploaded patchset 1")
def one_person_with_two_accounts(branch: Branch) -> None:
    change(branch, by="bobs-other").approve().submit()


@attack("votes", "carol uploaded patchset 1")
def the_writer_of_the_first_patchset_votes_on_the_second(branch: Branch) -> None:
    made = change(branch, by="carol")
    made.rework({}, by="bob", author="bob")
    made.approve("carol").submit()


@attack("votes", "carol uploaded patchset 2")
def who_rebased_for_the_uploader_votes(branch: Branch) -> None:
    made = change(branch)
    made.rework({"hidden": "1\n"}, real="carol")
    made.approve("carol").submit()


@attack("votes", "carol uploaded patchset 2")
def who_edited_in_the_browser_votes(branch: Branch) -> None:
    made = change(branch)
    made.rework({"hidden": "1\n"}, by="carol", author="alice")
    made.approve("carol").submit()


@attack("votes", "dave is not on the list")
def somebody_who_is_not_on_the_list(branch: Branch) -> None:
    change(branch).approve("dave").submit()


@attack("votes", "bob is not on the list")
def somebody_who_is_no_longer_on_the_list(branch: Branch) -> ReviewPolicy:
    change(branch).approve().submit()
    return replace(POLICY, approvers=frozenset(["carol"]))


@attack("votes", "erin's account is disabled")
def a_disabled_account(branch: Branch) -> None:
    change(branch).approve("erin").submit()


@attack("votes", "zuul cast it in bob's name")
def a_vote_in_anothers_name(branch: Branch) -> None:
    made = change(branch).approve("")
    made.vote("bob", 2, real="zuul")
    made.submit()


@attack("votes", "bob is not on the list")
def a_person_gives_the_machines_vote(branch: Branch) -> None:
    change(branch).approve(verifier="bob").submit()


# Attacks: which votes


@attack("votes", "nobody has voted so on patchset 1")
def too_low(branch: Branch) -> None:
    made = change(branch).approve("")
    made.vote("bob", 1)
    made.vote("carol", 1)
    made.submit()


@attack("votes", "Verified +2 is missing: nobody")
def not_tested(branch: Branch) -> None:
    change(branch).approve(verifier="").submit()


@attack("votes", "nobody has voted so on patchset 1")
def taken_back(branch: Branch) -> None:
    made = change(branch).approve()
    made.vote("bob", 0)
    made.submit()


@attack("votes", "nobody has voted so on patchset 1")
def deleted_by_the_voter(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("bob", ["Label: -Code-Review"])
    made.submit()


@attack("votes", "nobody has voted so on patchset 1")
def deleted_by_an_administrator(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("admin", [f"Label: -Code-Review {ident('bob')}"])
    made.submit()


@attack("votes", "nobody has voted so on patchset 1")
def a_reviewer_removed(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("admin", [f"Removed: {ident('bob')}"])
    made.submit()


@attack("votes", "nobody has voted so on patchset 1")
def a_reviewer_removed_and_added_again(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("admin", [f"Removed: {ident('bob')}"])
    made.record("alice", [f"Reviewer: {ident('bob')}"])
    made.submit()


@attack("votes", "nobody has voted so on patchset 2")
def only_on_an_old_patchset(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({"evil": "1\n"})
    made.vote("zuul", 2, "Verified")
    made.submit()


@attack("votes", "nobody has voted so on patchset 2")
def on_an_old_patchset_after_the_new_one(branch: Branch) -> None:
    made = change(branch)
    made.rework({"evil": "1\n"})
    made.vote("bob", 2, patchset=1)
    made.vote("zuul", 2, "Verified")
    made.submit()


@attack("votes", "patchset 2 is not that on another base")
def copied_to_other_code(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({"evil": "1\n"}, copied=[made.copied("bob"), made.copied("zuul", "Verified")])
    made.vote("zuul", 2, "Verified")
    made.submit()


@attack("votes", "Verified +2 is missing: zuul's +2 does not count, since it was cast on patchset 1")
def tests_copied_to_other_code(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({"evil": "1\n"}, copied=[made.copied("zuul", "Verified")])
    made.vote("bob", 2)
    made.submit()


@attack("votes", "patchset 2 is not that on another base")
def copied_to_another_message(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({}, message="Other words\n", copied=[made.copied("bob"), made.copied("zuul", "Verified")])
    made.submit()


@attack("votes", "patchset 2 is not that on another base")
def copied_to_a_rebase_with_something_slipped_in(branch: Branch) -> None:
    made = change(branch).approve()
    change(branch).approve().submit()
    made.rework({"evil": "1\n"}, onto=branch.head, copied=[made.copied("bob"), made.copied("zuul", "Verified")])
    made.submit()


@attack("votes", "a copy of a vote that nobody cast so")
def a_copy_of_nothing(branch: Branch) -> None:
    made = change(branch).approve("")
    made.rework({}, copied=[made.copied("zuul", "Verified"), made.copied("bob", value=2, name="9" * 40)])
    made.submit()


@attack("votes", "a copy of a vote that nobody cast so")
def a_deleted_vote_that_comes_back_as_a_copy(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("bob", ["Label: -Code-Review"])
    made.record("bob", [made.copied("bob")])
    made.submit()


@attack("votes", "a copy of a vote that nobody cast so")
def a_copy_that_grew(branch: Branch) -> None:
    made = change(branch).approve("")
    made.vote("bob", 1)
    made.rework({}, copied=[made.copied("zuul", "Verified"), made.copied("bob", value=2)])
    made.submit()


@attack("votes", "a copy of a vote that nobody cast so")
def a_copy_of_anothers_vote(branch: Branch) -> None:
    made = change(branch).approve("")
    name = made.vote("dave", 2)
    made.rework({}, copied=[made.copied("zuul", "Verified"), made.copied("bob", value=2, name=name)])
    made.submit()


@attack("votes", "zuul cast it in bob's name")
def a_copy_of_a_vote_in_anothers_name(branch: Branch) -> None:
    made = change(branch).approve("")
    made.vote("bob", 2, real="zuul")
    made.rework({}, copied=[made.copied("zuul", "Verified"), made.copied("bob", real="zuul")])
    made.submit()


@attack("votes", "a copy of a vote that nobody cast so")
def a_copy_that_hides_who_cast_it(branch: Branch) -> None:
    made = change(branch).approve("")
    made.vote("bob", 2, real="zuul")
    made.rework({}, copied=[made.copied("zuul", "Verified"), made.copied("bob")])
    made.submit()


@attack("votes", "before the change was moved")
def moved_with_its_votes(branch: Branch) -> None:
    made = branch.world.branch("unprotected")
    made.move(branch.head)
    moved = change(made).approve()
    moved.branch = branch
    moved.record("admin", [f"Branch: {branch.ref}"])
    moved.submit()


@attack("veto", "carol has vetoed it by Code-Review -2")
def a_veto(branch: Branch) -> None:
    made = change(branch).approve()
    made.vote("carol", -2)
    made.submit()


@attack("veto", "dave has vetoed it by Security -2")
def a_veto_on_another_label(branch: Branch) -> None:
    made = change(branch).approve()
    made.vote("dave", -2, "Security")
    made.submit()


@attack("veto", "carol has vetoed it by Code-Review -2")
def a_veto_copied_to_the_next_patchset(branch: Branch) -> None:
    made = change(branch)
    made.vote("carol", -2)
    made.rework({"x": "1\n"}, copied=[made.copied("carol")])
    made.approve().submit()


@attack("votes", "nobody has voted so on patchset 1")
def votes_only_after_the_merge(branch: Branch) -> None:
    made = change(branch)
    made.submit()
    made.approve()


@attack("votes", "nobody has voted so on patchset 1")
def votes_that_only_the_submitter_wrote_down(branch: Branch) -> None:
    made = change(branch).approve("")
    made.values[1, "Code-Review", "bob"], made.votes[1, "Code-Review", "bob"] = 2, "8" * 40
    change(branch).approve().submit()
    made.submit(kind="rebase")


# Attacks: how it was merged


@attack("submission", "forced")
def forced(branch: Branch) -> None:
    change(branch).submit(conditions=ready(forced=True, status="NOT_READY"))


@attack("submission", "forced")
def forced_with_every_vote(branch: Branch) -> None:
    change(branch).approve().submit(conditions=ready(forced=True))


@attack("requirements", "'Code-Review' was forced")
def forced_by_the_results_alone(branch: Branch) -> None:
    change(branch).approve().submit(results=[requirement("Code-Review", forced=True)])


@attack("requirements", "'Code-Review' was overridden")
def overridden(branch: Branch) -> None:
    change(branch).approve().submit(results=[requirement("Code-Review", met=False, override=True)])


@attack("requirements", "'Legal' was not met")
def a_requirement_not_met(branch: Branch) -> None:
    change(branch).approve().submit(results=[requirement("Code-Review"), requirement("Legal", met=False)])


@attack("requirements", "written down no result")
def no_results(branch: Branch) -> None:
    change(branch).approve().submit(results="none")


@attack("requirements", "was not met")
def results_that_cannot_be_read(branch: Branch) -> None:
    change(branch).approve().submit(results="{[")


def _odd(name: str, result: object) -> None:
    def make(branch: Branch) -> None:
        change(branch).approve().submit(results=[requirement("Code-Review"), result])

    make.__name__ = name
    attack("requirements", "was not met")(make)


_odd("a_result_that_says_nothing", {})
_odd("a_result_that_is_none", 1)
_odd("a_result_of_other_types", {"submitRequirement": 1, "forced": 1, "submittabilityExpressionResult": "PASS"})
_odd("a_result_that_nobody_knows_whether_it_applies",
     {"applicabilityExpressionResult": {"value": {"status": "ERROR"}}})  # fmt: skip
_odd("a_result_that_is_a_list", {"applicabilityExpressionResult": [], "submittabilityExpressionResult": {"value": 1}})


@attack("submission", "as 'NOT_READY', not as OK")
def not_ready(branch: Branch) -> None:
    change(branch).approve().submit(conditions=ready(status="NOT_READY"))


@attack("submission", "as 'NEED: Legal', not as OK")
def one_of_two_rules_was_not_met(branch: Branch) -> None:
    change(branch).approve().submit(conditions=[*ready(), "OK", "Rule-Name: legal", "NEED: Legal"])


@attack("submission", "pushed it to the branch, and Gerrit closed it")
def an_open_change_pushed_directly(branch: Branch) -> None:
    change(branch).approve().submit(conditions=[])


@attack("votes", "nobody has voted so on patchset 2")
def a_direct_push_becomes_the_next_patchset(branch: Branch) -> None:
    made = change(branch).approve()
    made.rework({"evil": "1\n"})
    made.submit(conditions=[])


@attack("commit", "in no change: it was pushed past review")
def a_direct_push(branch: Branch) -> None:
    branch.push({"evil": "1\n"})


@attack("commit", "in no change: it was pushed past review")
def a_direct_push_hidden_below_the_tip(branch: Branch) -> None:
    branch.push({"evil": "1\n"})
    change(branch).approve().submit()


@attack("commit", "in no change")
def the_parent_was_pushed_to_another_branch(branch: Branch) -> None:
    world = branch.world
    parent = world.commit({**world.files[branch.head], "evil": "1\n"}, [branch.head], message="elsewhere\n")
    world.ref("refs/heads/elsewhere-too", parent)
    change(branch, onto=parent).approve().submit()


@attack("commit", "is new, not merged")
def the_commit_of_an_open_change(branch: Branch) -> None:
    branch.move(change(branch).approve().commit)


@attack("commit", "is abandoned, not merged")
def the_commit_of_an_abandoned_change(branch: Branch) -> None:
    made = change(branch).approve()
    made.record("alice", ["Status: abandoned"])
    branch.move(made.commit)


@attack("commit", "merged as patchset 2, not as 1")
def an_older_patchset(branch: Branch) -> None:
    made = change(branch)
    old = made.commit
    made.rework({"mended": "1\n"})
    made.approve().submit()
    branch.move(old)


@attack("branch", "it was reviewed for refs/heads/lax")
def reviewed_for_another_branch(branch: Branch) -> None:
    lax = branch.world.branch("lax")
    lax.move(branch.head)
    branch.move(change(lax).approve().submit())


@attack("commit", "in no change")
def the_unreviewed_side_of_a_reviewed_merge(branch: Branch) -> None:
    world = branch.world
    side = world.commit({**world.files[branch.head], "evil": "1\n"}, [branch.head], message="side\n")
    branch.change(world.files[side], parents=[branch.head, side]).approve().submit()


@attack("replay", "its files are not what merging its two sides gives")
def an_evil_merge(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    world = branch.world
    files = world.files[branch.head] | world.files[two.commit] | {"evil": "1\n"}
    two.submit(kind="merge", files=files)


@attack("replay", "its two sides are in conflict")
def a_conflict_solved_by_whoever_pushed(branch: Branch) -> None:
    one, two = branch.change({"base": "one\n"}).approve(), branch.change({"base": "two\n"}).approve()
    one.submit()
    two.submit(kind="merge", files={"base": "three\n"})


def _renamed_and_deleted(branch: Branch) -> tuple[Change, dict[str, str]]:
    """One change deletes a file, another one has renamed it; and the files that both give where nobody follows that."""
    world, text = branch.world, "".join(f"{n}\n" for n in range(20))
    branch.change({"old": text}).approve().submit()
    kept = {"base": world.files[branch.base]["base"]}
    deletes, renames = change(branch), change(branch)
    deletes.upload(world.commit(kept, [branch.head], message="delete\n"), "alice")
    renames.upload(world.commit({**kept, "new": text}, [branch.head], message="rename\n"), "alice")
    deletes.approve().submit()
    return renames.approve(), {**kept, "new": text}


# Clean for JGit, so that Gerrit submits them: refused in error, which is told.
@attack("replay", "its two sides are in conflict, perhaps since a file was renamed")
def renamed_here_and_deleted_there(branch: Branch) -> None:
    renames, files = _renamed_and_deleted(branch)
    renames.submit(kind="merge", files=files)


@attack("replay", "computed again, it is in conflict, perhaps since a file was renamed")
def renamed_and_rebased_onto_where_it_is_deleted(branch: Branch) -> None:
    renames, _ = _renamed_and_deleted(branch)
    renames.submit(kind="rebase")


@attack("commit", "in no change")
def a_merge_of_three(branch: Branch) -> None:
    world, one, two = branch.world, change(branch).approve(), change(branch).approve()
    head = branch.head
    one.close("zuul", ready())
    two.close("zuul", ready())
    files = world.files[one.commit] | world.files[two.commit]
    branch.move(world.commit(files, [head, one.commit, two.commit], message="three\n"))


@attack("replay", "computed again, it comes out as something else")
def something_slipped_into_the_rebase(branch: Branch) -> None:
    made = change(branch).approve()
    change(branch).approve().submit()
    made.submit(kind="rebase", files={"evil": "1\n"})


@attack("replay", "computed again")
def something_slipped_into_a_pick_at_the_tip(branch: Branch) -> None:
    change(branch).approve().submit(kind="pick", files={"evil": "1\n"})


@attack("replay", "computed again")
def another_author_after_the_rebase(branch: Branch) -> None:
    change(branch).approve().submit(kind="rebase", author="Bob <bob@example.com> 1700000000 +0000")


@attack("replay", "computed again")
def another_message_after_the_rebase(branch: Branch) -> None:
    change(branch).approve().submit(kind="rebase", message="Other words\n")


@attack("replay", "computed again")
def a_trailer_that_gerrit_does_not_add(branch: Branch) -> None:
    change(branch).approve().submit(kind="pick", trailers=["Signed-off-by: Bob <bob@example.com>"])


def _other_headers(name: str, old: str, new: str) -> None:
    """A commit that was rebased with other headers beside the usual ones, where only its signature may differ."""

    def submitted(branch: Branch) -> None:
        change(branch, headers=old).approve().submit(kind="rebase", headers=new)

    def voted(branch: Branch) -> None:
        made = change(branch, headers=old).approve()
        change(branch).approve().submit()
        made.rework({}, onto=branch.head, copied=[made.copied("bob"), made.copied("zuul", "Verified")], headers=new)
        made.submit()

    submitted.__name__, voted.__name__ = f"{name}_by_the_submit", f"{name}_below_a_copied_vote"
    attack("replay", "computed again")(submitted)
    attack("votes", "patchset 2 is not that on another base")(voted)


_LATIN, _MERGED = "encoding ISO-8859-1\n", f"mergetag object {'1' * 40}\n type commit\n"
_other_headers("an_encoding_that_came", signature(), _LATIN)
_other_headers("an_encoding_that_went", _LATIN + signature(), signature())
_other_headers("an_encoding_that_came_after_a_signature", signature(), signature() + _LATIN)
_other_headers("a_merged_tag_that_came", "", _MERGED)
_other_headers("a_merged_tag_with_something_like_a_signature", _MERGED, f"{_MERGED} gpgsig\n gpgsig x\n")
_other_headers("an_unknown_header", signature(), f"{signature()}x-run evil\n")
_other_headers("a_header_named_like_a_signature", signature(), signature("gpgsig-more"))
_other_headers("a_signature_without_a_blank", signature(), "gpgsig\n")


@attack("replay", "computed again")
def something_slipped_into_the_rebase_of_a_signed_commit(branch: Branch) -> None:
    made = change(branch, headers=signature()).approve()
    change(branch).approve().submit()
    made.submit(kind="rebase", files={"evil": "1\n"})


# Attacks: on the records


def _forge(link: str, words: str, name: str, **forged: object) -> None:
    """An attack by one record that is not as Gerrit writes it, before the votes."""

    def make(branch: Branch) -> None:
        made = change(branch)
        given = {key: value(made) if callable(value) else value for key, value in forged.items()}
        made.record("bob", [], **given)
        made.approve().submit()

    make.__name__ = name
    attack(link, words)(make)


_records = partial(_forge, "records")
_PLAIN = "Update patch set 1\n\n"
_records("'Gerrit User 1000003 <1000003@00", "an_author_of_another_server", author="Gerrit User 1000003 <1000003@00>")
_records("is no account", "an_author_of_two_numbers", author=f"Gerrit User 1000003 <1000004@{SID}>")
_records("was not written by Gerrit", "a_record_that_a_person_committed", committer="Bob <bob@example.com>")
_records("was not written by Gerrit", "a_record_with_a_signature", more="gpgsig -----BEGIN\n -----END\n")
_records("follows several", "a_record_that_joins_two", parents=lambda made: [made.meta, made.meta])
_records("a line that Gerrit does not write", "an_unknown_footer", message=f"{_PLAIN}Patch-set: 1\nApproved: yes\n")
_records("says patchset ''", "no_footers_at_all", message="Label: Code-Review=+2 by bob\n")
_records("says Patch-set twice", "a_footer_twice", message=f"{_PLAIN}Patch-set: 1\nPatch-set: 2\n")
_records("patchset '01'", "a_patchset_with_a_zero_before_it", message=f"{_PLAIN}Patch-set: 01\n")
_records("patchset '1 (draft)'", "a_draft", message=f"{_PLAIN}Patch-set: 1 (draft)\n")
_records("patchset 7, which does not exist", "a_vote_on_a_patchset_to_come", message=f"{_PLAIN}Patch-set: 7\n")
_records("patchset ''", "a_record_about_no_patchset", message=f"{_PLAIN}Tag: x\n")
_records("Status 'submitted'", "an_unknown_status", message=f"{_PLAIN}Patch-set: 1\nStatus: submitted\n")
_records("the vote 'Code-Review'", "a_vote_without_a_value", message=f"{_PLAIN}Patch-set: 1\nLabel: Code-Review\n")
_records("the vote 'Code-Review=2x'", "a_value_that_is_no_number",
         message=f"{_PLAIN}Patch-set: 1\nLabel: Code-Review=2x\n")  # fmt: skip
_records("a vote of account 1000004, written by account 1000003", "a_vote_of_a_third_person",
         message=f"{_PLAIN}Patch-set: 1\nLabel: Code-Review=+2, {'1' * 40} {ident('carol')}\n")  # fmt: skip
_records("nobody votes", "a_vote_by_the_server", author=SERVER, message=f"{_PLAIN}Patch-set: 1\nLabel: Verified=+2\n")
_records("nobody uploads", "a_patchset_by_the_server", author=SERVER,
         message=lambda made: f"{_PLAIN}Patch-set: 2\nCommit: {_second(made)}\n")  # fmt: skip
_records(
    "whose ref is missing", "a_patchset_whose_ref_is_missing", message=f"{_PLAIN}Patch-set: 2\nCommit: {'1' * 40}\n"
)
_records("as patchset 1", "a_patchset_a_second_time", message=f"{_PLAIN}Patch-set: 1\nCommit: {'1' * 40}\n")
_records("is dated", "a_record_dated_back", when=1_700_000_000 - 3600)
_records("the copied vote", "a_copied_vote_of_nobody", message=f"{_PLAIN}Patch-set: 1\nCopied-Label: Code-Review=+2\n")


def _second(made: Change) -> str:
    made.branch.world.ref(made.ref(2), made.commit)
    return made.commit


@attack("records", "a line that Gerrit does not write")
def unreadable_here_and_reviewed_for_another_branch(branch: Branch) -> None:
    lax = branch.world.branch("laxer")
    lax.move(branch.head)
    made = change(lax).approve()
    made.submit()
    _pushed_again(branch, made.commit, branch.ref).approve().submit()


@attack("votes", "nobody has voted so on patchset 1")
def unreviewed_here_and_approved_where_it_cannot_be_read(branch: Branch) -> None:
    made = change(branch).approve("")
    made.submit()
    _pushed_again(branch, made.commit, branch.ref).approve().submit()


@attack("records", "a line that Gerrit does not write")
def open_here_and_approved_where_it_cannot_be_read(branch: Branch) -> None:
    made = change(branch).approve("")
    _pushed_again(branch, made.commit, branch.ref).approve().submit()


@attack("records", "a line that Gerrit does not write")
def an_evil_merge_whose_records_cannot_be_read(branch: Branch) -> None:
    one, two = change(branch).approve(), change(branch).approve()
    one.submit()
    files = branch.world.files[branch.head] | branch.world.files[two.commit] | {"evil": "1\n"}
    merge = two.submit(kind="merge", files=files)
    _pushed_again(branch, merge, branch.ref).approve().submit()


@attack("records", "there are none")
def the_records_are_gone(branch: Branch) -> None:
    made = change(branch).approve()
    made.submit()
    branch.world.delete(made.meta_ref)


@attack("commit", "is new, not merged")
def the_records_are_cut_short(branch: Branch) -> None:
    made = change(branch).approve()
    before = made.meta
    made.submit()
    branch.world.ref(made.meta_ref, before)


@attack("records", "which does not exist by then")
def the_records_begin_late(branch: Branch) -> None:
    made = change(branch)
    made.meta = ""
    made.approve().submit()


@attack("records", "whose ref is")
def a_patchset_moved(branch: Branch) -> None:
    made = change(branch).approve()
    made.submit()
    evil = branch.push({"evil": "1\n"})
    branch.world.ref(made.ref(1), evil)


@attack("votes", "nobody has voted so on patchset 1")
def a_vote_added_under_a_merged_change(branch: Branch) -> None:
    made = change(branch).approve("")
    made.submit()
    made.vote("bob", 2)
