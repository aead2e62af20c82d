"""Signed approvals: by an approver's own key, for this very patchset and environment, or they are none."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from approved import LATER, Desk, keys, line
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stand_ins import Seen, serving
from stand_ins import Server as Server_

from cdlib import streams
from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.promotion.approving import Patchset
from cdlib.run import Run
from cdlib.trust import approval, objects, signed, sshsig
from cdlib.trust.approval import NAMESPACE, compose, find, read_signers, sign, worth_verifying
from cdlib.trust.encoding import Unsound
from cdlib.trust.sshsig import KEY_TYPES
from jobs import cd_approve

__all__ = ["keys"]


@pytest.fixture
def desk(keys: Path, tmp_path: Path) -> Desk:
    return Desk.make(keys, tmp_path)


@pytest.mark.parametrize("key", ["bob", "bob-2", "carol"])
def test_a_signature_by_an_approver_counts(desk: Desk, key: str) -> None:
    desk.sign(key)
    (verdict,) = desk.verdicts()
    assert verdict.voters[-1] == f"signed {key.partition('-')[0]}"


@pytest.mark.parametrize("patchset", [1, 2])
def test_what_was_rebased_may_be_signed_as_reviewed_or_as_merged(keys: Path, tmp_path: Path, patchset: int) -> None:
    desk = Desk.make(keys, tmp_path, "rebase")
    desk.sign("carol", patchset)
    assert desk.verdicts()[-1].voters[-1] == "signed carol"


def test_a_bare_vote_is_refused_with_the_command_that_would_allow_it(desk: Desk) -> None:
    desk.refused("nobody has signed it")


@pytest.mark.parametrize(
    ("key", "other", "words"),
    [
        ("stranger", {}, "not among the allowed signers"),
        ("alice", {}, "alice is not on the list"),
        ("dave", {}, "dave is not on the list"),
        ("bobs-other", {}, "bobs-other is not on the list"),
        ("erin", {}, "a disabled one"),
        ("bob", {"environment": "staging"}, "environment staging, not production"),
        ("bob", {"change": 99}, "is for change 99"),
        ("bob", {"project": "other"}, "is for project other"),
        ("bob", {"patchset": 2}, "is for patchset 2"),
        ("bob", {"commit": "f" * 40}, "is for commit"),
        ("bob", {"tree": "f" * 40}, "is for tree"),
        ("bob", {"expires": LATER - timedelta(days=30)}, "expired"),
    ],
)
def test_a_signature_that_does_not_count(desk: Desk, key: str, other: dict[str, Any], words: str) -> None:
    made = replace(desk.approval(), **other)
    desk.comment(compose(made, sign(made, desk.keys / key, Deadline(10))))
    desk.refused(words)


@pytest.mark.parametrize("key", ["bob", "bob-2"])
def test_nobody_signs_what_they_had_to_do_with(keys: Path, tmp_path: Path, key: str) -> None:
    desk = Desk.make(keys, tmp_path, by="bob")
    desk.sign(key)
    desk.refused("bob uploaded patchset 1")
    desk.sign("carol")
    assert desk.verdicts()[0].voters[-1] == "signed carol"


def swapped(desk: Desk, text: str) -> str:
    """bob's signature under other words."""
    other = desk.approval(environment="staging")
    return compose(desk.approval(), sign(other, desk.keys / "bob", Deadline(10)))


def other_purpose(desk: Desk, text: str) -> str:
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(desk.keys / "bob")]
    made = subprocess.run(argv, input=desk.approval().text(), capture_output=True, check=True).stdout
    return compose(desk.approval(), made.decode())


@pytest.mark.parametrize(
    "spoil",
    [
        swapped,
        other_purpose,
        lambda _, text: text.replace('"production"', '"production" '),
        lambda _, text: text.replace('"change":', '"change":1,"change":'),
        lambda _, text: text.replace('{"change"', '{"also":1,"change"'),
        lambda _, text: text.replace("cd-approval/1", "cd-approval/2"),
        lambda _, text: text.replace("BEGIN SSH SIGNATURE", "BEGIN PGP SIGNATURE"),
        lambda _, text: text.replace("U1NIU0lH", "U1NIU0lI"),
        lambda _, text: text[: len(text) // 2],
        lambda _, text: "> " + text.replace("\n", "\n> "),
    ],
)
def test_what_only_looks_signed(desk: Desk, spoil: Callable[[Desk, str], str]) -> None:
    desk.comment(spoil(desk, compose(desk.approval(), sign(desk.approval(), desk.keys / "bob", Deadline(10)))))
    desk.refused()


def test_what_others_write_hides_no_signature(desk: Desk) -> None:
    desk.sign("bob")
    for key, other in (("stranger", {}), ("bob", {"environment": "staging"})):
        desk.sign(key, **other)
    desk.comment("-----BEGIN SSH SIGNATURE-----\n" * 3 + "\ud800")
    assert desk.verdicts()[0].voters[-1] == "signed bob"


@pytest.mark.parametrize("half", ["\ud800", "\\ud800", "\\udc00\\ud800"])
@pytest.mark.parametrize("field", ["hello", "production"])
def test_half_a_character_in_a_comment_is_passed_over(desk: Desk, half: str, field: str) -> None:
    """As it is, from the server's disk only; escaped once more within what is signed, anybody may write it."""
    text = compose(desk.approval(), sign(desk.approval(), desk.keys / "bob", Deadline(10)))
    desk.comment(text.replace(f'"{field}"', f'"{field}{half}"'))
    desk.refused("nobody has signed it")
    desk.sign("bob")
    assert desk.verdicts()[0].voters[-1] == "signed bob"


def test_a_flood_of_what_does_not_count_hides_no_signature(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By keys that are on no list, for another environment, the same again, or bob's own signature under other words;
    a comment may hold many."""
    made = desk.approval()
    armored = sign(made, desk.keys / "bob", Deadline(10))
    desk.comment(compose(made, armored))
    staging = desk.approval(environment="staging")
    others = [compose(staging, sign(staging, desk.keys / who, Deadline(10))) for who in ("bob", "carol", "stranger")]
    later = [replace(made, expires=LATER + timedelta(seconds=number)) for number in range(1, 300)]
    desk.comment("\n".join([*others * 100, *(compose(each, armored) for each in later)]))
    looked_at: list[Any] = []
    whole = signed.signer
    monkeypatch.setattr(signed, "signer", lambda *args: looked_at.append(args) or whole(*args))
    assert desk.verdicts()[0].voters[-1] == "signed bob"
    assert len(looked_at) <= approval.MOST + approval._OTHERS


def test_comments_after_the_merge_hide_no_signature(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """90 comments of 16,000 characters each of which Gerrit writes by six; more than it lets through are told of."""
    desk.sign("bob")
    desk.comment("\x01" * 90 * 16_000)
    assert desk.verdicts()[0].voters[-1] == "signed bob"
    monkeypatch.setattr(objects, "LARGEST_NOTE", 8 * 2**20)
    desk.refused("is more than 24 MiB")


def test_of_many_by_one_key_the_newest_count(desk: Desk) -> None:
    approvals = [desk.approval(expires=LATER + timedelta(days=day)) for day in range(8)]
    texts = [compose(each, sign(each, desk.keys / "bob", Deadline(10))) for each in approvals]
    signers = read_signers(desk.folder / "allowed")
    kept = worth_verifying(find(texts), [desk.approval()], signers)
    assert [each.approval for each in kept] == approvals[-approval.MOST :]


def test_gerrit_may_change_the_ends_of_lines(desk: Desk) -> None:
    made = desk.approval()
    text = compose(made, sign(made, desk.keys / "bob", Deadline(10)))
    assert [each.approval for each in find([text.replace("\n", "\r\n")])] == [made]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: line(keys, "*", "bob"),
        lambda keys: line(keys, "bob,carol", "bob"),
        lambda keys: line(keys, "bob", namespace="*"),
        lambda keys: line(keys, "bob").replace("namespaces=", "cert-authority,namespaces="),
        lambda keys: line(keys, "bob").replace(f'namespaces="{NAMESPACE}" ', ""),
        lambda keys: line(keys, "bob").replace("ssh-ed25519", "ssh-rsa"),
        lambda keys: line(keys, "bob").replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com"),
        lambda keys: line(keys, "bob") + line(keys, "carol", "bob"),
        lambda keys: "bob\n",
    ],
)
def test_a_list_of_signers_that_could_mean_something_else(
    keys: Path, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    (tmp_path / "allowed").write_text(line(keys, "alice") + spoil(keys))
    with pytest.raises(UsageProblem, match="line [23]"):
        read_signers(tmp_path / "allowed")


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="No such file"):
        read_signers(tmp_path / "none")


def test_a_key_that_does_not_sign(keys: Path, desk: Desk) -> None:
    with pytest.raises(UsageProblem, match="did not sign"):
        sign(desk.approval(), keys / "none", Deadline(10))


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("status", ["NEW", "MERGED"])
def test_cd_approve_shows_signs_comments_and_votes(
    desk: Desk, status: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it sends to Gerrit is what the authorizer asks for."""
    desk.world.save()
    posted: list[tuple[str, Any]] = []
    number, commit = desk.change.number, desk.change.commit
    info = {"project": "hello", "_number": number, "branch": "master", "status": status, "current_revision": commit,
            "revisions": {commit: {"_number": 1}}}  # fmt: skip

    def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if seen.method == "POST":
            posted.append((seen.path, json.loads(seen.body)))
        return 200, {"Content-Type": "application/json"}, b")]}'\n" + json.dumps([info]).encode()

    clone = desk.folder / "clone"
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    for name, value in (("CD_GERRIT_USER", "bob"), ("CD_GERRIT_PASSWORD", "hunter2hunter2")):
        monkeypatch.setenv(name, value)
    with serving(Server_(answer)) as gerrit:
        argv = ["-C", str(clone), str(number), "-e", "production", "--key", str(desk.keys / "bob"), "--url", gerrit.url,
                "--remote", str(desk.world.folder)]  # fmt: skip
        for more, code in ((["--dry-run"], 0), ([], 2), (["--yes"], 0)):
            with pytest.raises(SystemExit) as caught:
                cd_approve.main.main([*argv, *more])
            assert caught.value.code == code and len(posted) == ("--yes" in more)
    ((path, body),) = posted
    assert path.endswith(f"hello~{number}/revisions/{commit}/review")
    assert body.get("labels") == ({"Code-Review": 2} if status == "NEW" else None)
    said = capsys.readouterr().err
    assert "+++ b/a" in said and f'"commit":"{commit}"' in said and "hunter2" not in said
    desk.comment(body["comments"]["/PATCHSET_LEVEL"][0]["message"])
    assert desk.verdicts()[0].voters[-1] == "signed bob"


@dataclass
class Clone:
    """A clone whose owner and whose commits set whatever could leave something out."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Clone:
        made = cls(folder)
        subprocess.run(["git", "init", "-q", "-b", "master", str(folder)], check=True)
        for name, value in (("user.name", "x"), ("user.email", "x@y"), ("diff.evil.textconv", "echo same"),
                            ("diff.relative", "true"), ("diff.ignoreSubmodules", "all"), ("log.showRoot", "false"),
                            ("core.attributesFile", str(folder / "more"))):  # fmt: skip
            made.git("config", name, value)
        (folder / "more").write_text("*.txt -diff\n")
        return made

    def git(self, *args: str) -> str:
        argv = ["git", "-C", str(self.folder), *args]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text, newline="")
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "some")
        return self.git("rev-parse", "HEAD")

    def shown(self, commit: str) -> str:
        change = SimpleNamespace(number=7, newest=(commit, "1"), project="hello", status="NEW")
        run = Run("test", Deadline(20), out=self.folder)
        return Patchset(run, self.folder, change).difference()  # type: ignore[arg-type]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone.make(tmp_path / "clone")


def test_attributes_hide_nothing_of_what_is_signed(clone: Clone) -> None:
    attributes = "*.lock -diff\n*.bin binary\n*.py diff=evil\n"
    first = clone.commit(_gitattributes=attributes, a_lock="one\n", b_bin="one\n", c_py="one\n", d_txt="one\n")
    assert clone.shown(first).count("\n+one") == 4, "also of a commit without parents"
    second = clone.commit(a_lock="two\n", b_bin="two\n", c_py="two\n", d_txt="two\n")
    said = clone.shown(second)
    assert said.count("\n+two") == 4 and said.count("\n-one") == 4 and "Binary" not in said


def test_a_merge_that_drops_what_the_branch_had_shows_it(clone: Clone) -> None:
    clone.commit(a="1\n", b="1\n")
    clone.git("checkout", "-q", "-b", "side")
    clone.commit(b="2\n")
    clone.git("checkout", "-q", "master")
    clone.commit(a="mended\n")
    clone.git("merge", "-q", "--no-commit", "side")
    clone.git("checkout", "side", "--", "a")
    clone.git("commit", "-q", "-m", "merge")
    assert "-mended" in clone.shown(clone.git("rev-parse", "HEAD"))


def test_a_submodule_that_moves_is_shown(clone: Clone) -> None:
    clone.commit(a="1\n")
    for commit in ("1" * 40, "2" * 40):
        clone.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
        clone.git("-c", "diff.ignoreSubmodules=none", "commit", "-q", "-m", "some")
    assert f"+Subproject commit {'2' * 40}" in clone.shown(clone.git("rev-parse", "HEAD"))


def test_what_does_not_show_is_written_out(clone: Clone) -> None:
    said = clone.shown(clone.commit(a="x = 1  # one\rprint('evil')\n", b="\u202eevil\x1b[2K\n"))
    assert "+x = 1  # one<U+000D>print('evil')" in said and "+<U+202E>evil<U+001B>[2K" in said


def test_what_is_too_large_to_be_shown_is_not_signed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = clone.commit(a="x\n" * 5000)
    monkeypatch.setattr(streams, "KEPT_STDOUT", 5000)
    with pytest.raises(UsageProblem, match="cannot be shown whole, and so is not signed"):
        clone.shown(commit)


def field(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def by_token(kind: str, message: bytes, namespace: str) -> tuple[str, bytes]:
    """The public key of a token, as `type base64`, and its signature: what a real one makes, by PROTOCOL.u2f."""
    data = b"SSHSIG" + field(namespace.encode(), b"", b"sha512", hashlib.sha512(message).digest())
    said = b"\x01" + (7).to_bytes(4, "big")
    whole = hashlib.sha256(b"ssh:").digest() + said + hashlib.sha256(data).digest()
    if "ecdsa" in kind:
        private = ec.generate_private_key(ec.SECP256R1())
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        key = field(kind.encode(), b"nistp256", point, b"ssh:")
        made = field(*map(number, decode_dss_signature(private.sign(whole, ec.ECDSA(SHA256())))))
    else:
        token = ed25519.Ed25519PrivateKey.generate()
        key = field(kind.encode(), token.public_key().public_bytes_raw(), b"ssh:")
        made = token.sign(whole)
    raw = b"SSHSIG" + (1).to_bytes(4, "big")
    raw += field(key, namespace.encode(), b"", b"sha512", field(kind.encode(), made) + said)
    lines = b"\n".join(base64.b64encode(raw)[at : at + 70] for at in range(0, 2000, 70)).strip()
    armored = b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"\n-----END SSH SIGNATURE-----\n"
    return f"{kind} {base64.b64encode(key).decode()}", armored


@pytest.mark.parametrize("kind", [kind for kind in KEY_TYPES if kind.startswith("sk-")])
def test_hardware_backed_keys_are_keys_like_others(desk: Desk, kind: str) -> None:
    made = desk.approval()
    key, armored = by_token(kind, made.text(), NAMESPACE)
    with (desk.folder / "allowed").open("a") as allowed:
        allowed.write(f'bob namespaces="{NAMESPACE}" {key}\n')
    desk.comment(compose(made, armored.decode()))
    assert desk.verdicts()[0].voters[-1] == "signed bob"


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_whether_a_signature_can_hold_is_told_as_ssh_keygen_tells_it(keys: Path, tmp_path: Path, kind: str) -> None:
    message = b"some text\n"
    if kind.startswith("sk-"):
        public, armored = by_token(kind, message, NAMESPACE)
    else:
        who = keys / ("carol" if "ecdsa" in kind else "bob")
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(who)]
        armored = subprocess.run(argv, input=message, capture_output=True, check=True).stdout
        public = " ".join(who.with_suffix(".pub").read_text().split()[:2])
    (tmp_path / "allowed").write_text(f'x namespaces="{NAMESPACE}" {public}\n')
    made = sshsig.read(armored)
    assert made.public == public
    spoilt = replace(made, signature=made.signature[:40] + bytes([made.signature[40] ^ 1]) + made.signature[41:])
    assert not spoilt.can_hold(message, NAMESPACE) and not made.can_hold(message, "git")
    for text in (message, b"other text\n"):
        (tmp_path / "signature").write_bytes(armored)
        argv = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "x", "-n", NAMESPACE,
                "-s", str(tmp_path / "signature")]  # fmt: skip
        done = subprocess.run(argv, input=text, capture_output=True)
        assert made.can_hold(text, NAMESPACE) is (done.returncode == 0) is (text == message), done.stderr


@pytest.mark.parametrize(
    "raw", [b"", b"SSHSIG", b"SSHSIG\0\0\0\2", b"SSHSIG\0\0\0\1", b"SSHSIG\0\0\0\1\xff\xff\xff\xff"]
)
def test_what_is_no_ssh_signature(raw: bytes) -> None:
    with pytest.raises(Unsound):
        sshsig.read(b"-----\n" + base64.b64encode(raw) + b"\n-----\n")
    with pytest.raises(Unsound):
        sshsig.read(b"-----\n!\n-----\n")
