"""What docs/keys.md and docs/trust.md tell operators to do: each command of theirs is run, and has the effect they say.

Keys are openssl's and ssh-keygen's, commits and Gerrit's records are git's; the registry and Gerrit's REST interface are
stand-ins. The mirror's commands are run in test_review_mirror, cosign's in the integration tests.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from approved import Desk
from approved import keys as ssh_keys
from manuals import blocks, follow
from notedb import ACCOUNTS, SID
from permitted import Place, Template, refused, signers, template
from permitted import place as place_of_permits
from planted import plant
from signing import Signers
from stand_ins import Seen, Server, serving

from cdlib.errors import Refused
from cdlib.promotion.authorizing import asked_deploy
from cdlib.promotion.permits import spent
from cdlib.report.audit import check
from cdlib.trust import attached
from cdlib.trust.attached import ENVELOPE, MANIFEST, attach, fetch, tag_of
from cdlib.trust.identity import read_people
from cdlib.trust.keys import read_private
from cdlib.trust.permit import issue, permit_for

__all__ = ["Template", "place_of_permits", "signers", "ssh_keys", "template"]
KEYS = Path(__file__).parents[2] / "docs" / "keys.md"
TRUST = KEYS.with_name("trust.md")
STEPS = {"provenance": "build", "test-result": "test", "permit": "authorize", "break-glass": "break-glass"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "_WAIT", 0.0)


class Documented(Signers):
    """Keys that were made as docs/keys.md says, under its names. `second` are those that were made anew."""

    second: frozenset[str] = frozenset()

    def file(self, name: str) -> Path:
        return self.folder / f"{STEPS[name]}{'-2' * (name in self.second)}.pem"


def make_key(folder: Path, step: str = "build") -> None:
    (folder / "keys").mkdir(exist_ok=True)
    follow(KEYS, "make-a-key", folder, {"build": step})
    plant(f"the key {step}", (folder / f"{step}.pem").read_bytes())


@pytest.fixture
def place(place_of_permits: Place) -> Iterator[Place]:
    """A service whose keys were made by the page, and are listed as it lists them."""
    place, before = place_of_permits, place_of_permits.signers
    for step in STEPS.values():
        make_key(place.base, step)
    place.signers = Documented(place.base)
    targets = json.loads((place.base / "targets.yaml").read_text())
    del targets["keys"]
    (listed,) = [block.text for block in blocks(KEYS) if block.language == "yaml"]
    (place.base / "targets.yaml").write_text(listed + yaml.safe_dump(targets))
    yield place
    place.signers = before


def rotate(place: Place, purpose: str, step: str) -> None:
    """Do step 1 or 3 of the page for the key of a purpose."""
    name = STEPS[purpose]
    follow(KEYS, step, place.base, {"build": name})
    if step == "rotate-add":
        plant(f"the new key {name}", (place.base / f"{name}-2.pem").read_bytes())


def take_new(place: Place, purpose: str) -> None:
    """Step 2: the job has the new private half."""
    made = Documented(place.base)
    object.__setattr__(made, "second", place.signers.second | {purpose})  # type: ignore[attr-defined]
    place.signers = made


def test_a_key_as_the_page_makes_it(tmp_path: Path) -> None:
    make_key(tmp_path)
    private = tmp_path / "build.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert read_private(private).public.id.startswith("SHA256:")
    assert (tmp_path / "keys" / "build.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")


def test_rotating_the_builders_key(place: Place) -> None:
    place.change("one")
    place.attest()
    place.authorize()
    rotate(place, "provenance", "rotate-add")
    refused(place.guard, "does not cover", "policy")  # a permit in flight
    place.authorize()
    place.settle(place.guard())
    rotate(place, "provenance", "rotate-remove")
    # What only the old key has attested proves nothing any more, until the gate has made it again.
    place.change("two")
    place.attest()
    refused(place.authorize, "no provenance proves", "no key that targets.yaml lists has signed it")
    take_new(place, "provenance")
    place.attest()
    place.authorize()


@pytest.mark.parametrize(("deployed_between", "judged"), [(True, 1), (False, 2)])
def test_rotating_the_authorizers_key(place: Place, deployed_between: bool, judged: int) -> None:
    place.change("one")
    place.attest()
    place.authorize()
    place.settle(place.guard())
    rotate(place, "permit", "rotate-add")
    take_new(place, "permit")
    if deployed_between:
        place.change("two")
        place.attest()
        assert len(place.authorize()["verdicts"]) == 1, "what the old key has permitted stays so while it is listed"
        place.settle(place.guard())
    rotate(place, "permit", "rotate-remove")
    place.change("three")
    place.attest()
    assert len(place.authorize()["verdicts"]) == judged


def test_an_authorizers_key_in_wrong_hands(place: Place) -> None:
    """What it let in shows by the audit records, and after step 3 it lets in nothing."""
    place.change("one")
    place.attest()
    place.authorize()
    place.settle(place.guard())
    branch = place.branch
    branch.push({"values.yaml": "text: evil\n"})
    place.take()
    place.attest()

    def steal() -> None:
        record = place.record()
        asked = asked_deploy(place.permits(), place.work(), record, place.digest, "")
        permit = permit_for(asked, spent(record), by="a thief")
        place.put(issue(permit, place.signers.key("permit")))

    steal()
    place.settle(place.guard())
    lines = (place.base / "audit").read_text().splitlines(keepends=True)
    for event, who in (("permit", "authorizer"), ("spent", "deployer")):
        kept = [line for line in lines if json.loads(line)["event"] == event]
        (place.base / f"{who}.audit").write_text("".join(kept))
    thiefs = [entry["permit"] for entry, _ in check(place.base / "audit") if entry.get("by") == "a thief"]
    assert len(thiefs) == 1
    found = follow(KEYS, "spent-and-never-issued", place.base)
    assert found == f'"permit": "{thiefs[0]}"\n'
    rotate(place, "permit", "rotate-add")
    rotate(place, "permit", "rotate-remove")
    steal()
    refused(place.guard, "no permit")


def test_adding_an_approver_and_taking_one_off(ssh_keys: Path, tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    desk = Desk.make(ssh_keys, tmp_path / "desk")
    allowed = tmp_path / "desk" / "allowed"
    everybody = allowed.read_text()
    (tmp_path / "desk" / "allowed_signers").write_text("".join(
        line for line in everybody.splitlines(keepends=True) if not line.startswith("bob ")))  # fmt: skip
    (tmp_path / "desk" / "bob.pub").write_bytes((ssh_keys / "bob.pub").read_bytes())

    def voters() -> list[str]:
        allowed.write_bytes((tmp_path / "desk" / "allowed_signers").read_bytes())
        return desk.verdicts()[0].voters

    desk.sign("bob")
    with pytest.raises(Refused):
        voters()
    follow(KEYS, "add-an-approver", tmp_path / "desk")
    assert "signed bob" in voters()
    follow(KEYS, "take-off-an-approver", tmp_path / "desk")
    with pytest.raises(Refused):
        voters()


def test_writing_a_flooded_tag_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ready_by_page(place)
    ring, registry, tag = place.permits().ring, place.registry, tag_of(place.digest)
    good = fetch(place.repository, place.digest, ring)
    assert len(good) == 3
    monkeypatch.setattr(attached, "MOST_READ", 10)
    kind, raw = registry.manifests["t/web"][tag]
    junk = [{"mediaType": ENVELOPE, "size": 9, "digest": f"sha256:{number:064x}"} for number in range(20)]
    document = json.loads(raw)
    flooded = json.dumps({**document, "layers": [*document["layers"], *junk]}).encode()
    registry.manifests["t/web"][tag] = (kind, flooded)
    assert kind == MANIFEST
    refused(place.guard, "has 23 attestations")
    follow(KEYS, "write-a-flooded-tag-anew", place.base,
           {"https://registry.example.org/v2/hello": f"{registry.url}/v2/t/web", "sha256-…": tag.removesuffix(".att")})  # fmt: skip
    assert len(fetch(place.repository, place.digest, ring)) == 1
    attach(place.repository, place.digest, [])  # as any job that writes there does
    assert sorted(fetch(place.repository, place.digest, ring)) == sorted(good)
    assert place.guard()


def ready_by_page(place: Place) -> None:
    place.change("one")
    place.attest()
    place.authorize()


def test_the_table_of_accounts(tmp_path: Path) -> None:
    accounts = [
        {"_account_id": number, "username": name, "email": f"{name}@example.com"} for name, number in ACCOUNTS.items()
    ]

    def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        assert "o=ALL_EMAILS" in seen.path and "is:inactive" in seen.path and seen.headers["Authorization"]
        return 200, {"Content-Type": "application/json"}, b")]}'\n" + json.dumps(accounts).encode()

    with serving(Server(answer)) as gerrit:
        host = gerrit.host.replace("localhost", "127.0.0.1")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login admin password an-administrators-password\n")
        (tmp_path / ".netrc").chmod(0o600)
        follow(TRUST, "export-accounts", tmp_path, {"https://gerrit.example.org": f"http://{host}"})
    people = read_people([tmp_path / "accounts.json"])
    assert {people.name(number) for number in ACCOUNTS.values()} == set(ACCOUNTS)


def test_who_gerrit_is(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "gerrit.config").write_text(
        f"[gerrit]\n\tserverId = {SID}\n[user]\n\temail = gerrit@example.com\n"
    )
    assert follow(TRUST, "who-gerrit-is", tmp_path).split() == [SID, "gerrit@example.com"]


def test_checking_an_audit_record(place: Place) -> None:
    ready_by_page(place)
    entries = [entry for entry, _ in check(place.base / "audit")]
    (place.base / "deployer.audit").write_bytes((place.base / "audit").read_bytes())
    printed = follow(TRUST, "check-a-record", place.base, hash=entries[0]["hash"])
    assert entries[0]["permit"] in printed
    (place.base / "deployer.audit").write_text("")
    with pytest.raises(AssertionError, match="the end was cut off"):
        follow(TRUST, "check-a-record", place.base, hash=entries[0]["hash"])


def test_every_block_of_a_shell_is_run_by_a_test() -> None:
    here = "".join(file.read_text() for file in Path(__file__).parents[1].rglob("test_*.py"))
    named = [block.name for page in (KEYS, TRUST) for block in blocks(page) if block.language in ("sh", "")]
    assert len(named) >= 10 and all(name and f'"{name}"' in here for name in named), named
