"""Attestations beside an image: as cosign keeps them, and none lost to another writer."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from signing import Signers, new_signers
from stand_ins import Fault, StandInRegistry, sha

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import Refused, RegistryRefused, Unavailable, UsageProblem
from cdlib.registry.manifest import Manifest
from cdlib.registry.repository import Repository
from cdlib.registry.transport import Transport
from cdlib.trust import attached
from cdlib.trust.attached import ENVELOPE, LARGEST, MANIFEST, MOST_STRANGE, Attestation, attach, fetch, tag_of
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement

DIGEST = "sha256:" + "ab" * 32
TAG = "sha256-" + "ab" * 32 + ".att"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attached, "_WAIT", 0.0)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return new_signers(tmp_path_factory.mktemp("keys"))


def repository(server: StandInRegistry) -> Repository:
    return Repository(Transport(server.host, Deadline(20), attempts=2), "hello")


def some(signers: Signers, count: int = 1) -> list[Attestation]:
    made = (make_statement("x", DIGEST, PROVENANCE, {"n": n}, signers.key("provenance")) for n in range(count))
    return [Attestation(envelope, PROVENANCE) for envelope in made]


def envelopes(attestations: list[Attestation]) -> set[bytes]:
    return {each.envelope for each in attestations}


def test_it_is_written_as_cosign_writes_it(registry: StandInRegistry, signers: Signers) -> None:
    first, second = some(signers, 2)
    assert attach(repository(registry), DIGEST, [first]) and attach(repository(registry), DIGEST, [second])
    kind, raw = registry.manifests["hello"][TAG]
    manifest = json.loads(raw)
    assert kind == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert set(manifest) == {"schemaVersion", "mediaType", "config", "layers"} and len(manifest["layers"]) == 2
    assert manifest["layers"][0] == {
        "mediaType": "application/vnd.dsse.envelope.v1+json",
        "size": len(first.envelope),
        "digest": sha(first.envelope),
        "annotations": {"dev.cosignproject.cosign/signature": "", "predicateType": PROVENANCE},
    }
    config = json.loads(registry.blobs["hello"][manifest["config"]["digest"]])
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [sha(first.envelope), sha(second.envelope)]}
    assert len(config["history"]) == 2
    assert fetch(repository(registry), DIGEST) == [first.envelope, second.envelope]


def test_nothing_beside_it_is_no_error(registry: StandInRegistry) -> None:
    assert fetch(repository(registry), DIGEST) == [] and not attach(repository(registry), DIGEST, [])


def test_the_same_again_writes_nothing(registry: StandInRegistry, signers: Signers) -> None:
    made = some(signers, 2)
    attach(repository(registry), DIGEST, made)
    registry.seen.clear()
    assert not attach(repository(registry), DIGEST, made)
    assert {seen.method for seen in registry.seen} <= {"GET", "HEAD"}


def test_what_others_wrote_stays_as_it_is(registry: StandInRegistry, signers: Signers) -> None:
    theirs = repository(registry).upload(b"{}")
    layers = [{"mediaType": ENVELOPE, "size": 2, "digest": theirs.digest, "annotations": {"a": "b"}, "urls": ["x"]}]
    attached._put(repository(registry), TAG, layers)
    attach(repository(registry), DIGEST, some(signers))
    assert json.loads(registry.manifests["hello"][TAG][1])["layers"][0] == layers[0]


class Overtaken(Repository):
    """Another writer does `meanwhile` between our reading the tag and our writing it."""

    meanwhile: Callable[[], Any] | None = None

    def put_manifest(self, reference: str, manifest: Manifest) -> None:
        if reference == TAG and self.meanwhile:
            todo, self.meanwhile = self.meanwhile, None
            todo()
        super().put_manifest(reference, manifest)


def test_a_writer_that_read_before_another_wrote_puts_back_what_it_overwrote(
    registry: StandInRegistry, signers: Signers
) -> None:
    mine, theirs, before = some(signers, 3)
    attach(repository(registry), DIGEST, [before])
    slow = Overtaken(Transport(registry.host, Deadline(20)), "hello")
    slow.meanwhile = lambda: attach(repository(registry), DIGEST, [theirs])
    attach(slow, DIGEST, [mine])
    assert set(fetch(repository(registry), DIGEST)) == envelopes([mine, theirs, before])


def test_the_next_writer_puts_back_what_one_that_died_overwrote(registry: StandInRegistry, signers: Signers) -> None:
    lost, kept = some(signers, 2)
    attach(repository(registry), DIGEST, [lost])
    registry.manifests["hello"].pop(TAG)
    attach(repository(registry), DIGEST, [kept])
    assert set(fetch(repository(registry), DIGEST)) == envelopes([lost, kept])
    registry.manifests["hello"].pop(TAG)
    assert attach(repository(registry), DIGEST, []) and len(fetch(repository(registry), DIGEST)) == 2


def test_it_ends_where_others_never_do(registry: StandInRegistry, signers: Signers) -> None:
    class Hostile(Repository):
        def put_manifest(self, reference: str, manifest: Manifest) -> None:
            super().put_manifest(reference, manifest)
            if reference == TAG:
                registry.manifests["hello"].pop(TAG)

    with pytest.raises(Unavailable, match="all the time"):
        attach(Hostile(Transport(registry.host, Deadline(20)), "hello"), DIGEST, some(signers))


def test_tags_that_only_look_like_announcements_announce_nothing(registry: StandInRegistry, signers: Signers) -> None:
    made, other = some(signers, 2)
    attach(repository(registry), "sha256:" + "cd" * 32, [other])
    registry.manifests["hello"][f"{TAG}.{'0' * 32}"] = registry.manifests["hello"]["sha256-" + "cd" * 32 + ".att"]
    registry.add_image("hello", f"{TAG}.image")
    attach(repository(registry), DIGEST, [made])
    assert fetch(repository(registry), DIGEST) == [made.envelope]


def test_an_announcement_under_our_name_that_is_not_ours_is_told(registry: StandInRegistry, signers: Signers) -> None:
    (made,) = some(signers)
    registry.add_image("hello", f"{TAG}.{sha(made.envelope)[7:39]}")
    with pytest.raises(RegistryRefused, match="holds something else"):
        attach(repository(registry), DIGEST, [made])


DEEP = b'{"layers":' + b"[" * 3000 + b"]" * 3000 + b"}"
SPOILT = [
    DEEP,
    b'{"layers":[{"digest":"sha256:%b","size":1e999}]}' % (b"0" * 64),
    b'{"layers":[{"digest":"sha256:%b","size":1,"a":NaN}],"config":{"digest":"sha256:%b"}}' % (b"0" * 64, b"0" * 64),
    rb'{"layers":[{"digest":"sha256:%b","size":1,"a":"\ud800"}],"config":{"digest":"sha256:%b"}}'
    % (b"0" * 64, b"0" * 64),
]


@pytest.mark.parametrize("spoilt", SPOILT, ids=["deep", "endless", "nan", "surrogate"])
def test_one_announcement_that_cannot_be_read_keeps_nobody_from_writing(
    registry: StandInRegistry, signers: Signers, spoilt: bytes
) -> None:
    made = some(signers)
    registry.manifests.setdefault("hello", {})[f"{TAG}.{'0' * 32}"] = (MANIFEST, spoilt)
    assert attach(repository(registry), DIGEST, made) and fetch(repository(registry), DIGEST) == [made[0].envelope]


@pytest.mark.parametrize("spoilt", SPOILT, ids=["deep", "endless", "nan", "surrogate"])
def test_a_tag_that_cannot_be_read_is_refused_with_a_hint(
    registry: StandInRegistry, signers: Signers, spoilt: bytes
) -> None:
    """Which the guards around a permit that was handed over take for what it is."""
    registry.manifests.setdefault("hello", {})[TAG] = (MANIFEST, spoilt)
    for doing in (lambda: fetch(repository(registry), DIGEST), lambda: attach(repository(registry), DIGEST, [])):
        with pytest.raises(RegistryRefused, match=TAG) as caught:
            doing()
        assert caught.value.hint


def test_an_index_in_its_place_holds_nothing(registry: StandInRegistry, signers: Signers) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    registry.manifests.setdefault("hello", {})[TAG] = (kind, b'{"manifests":[],"layers":[{"mediaType":5}]}')
    assert fetch(repository(registry), DIGEST) == []
    made = some(signers)
    assert attach(repository(registry), DIGEST, made) and fetch(repository(registry), DIGEST) == [made[0].envelope]


def test_a_registry_that_stumbles_over_two_writers_is_given_a_moment(
    registry: StandInRegistry, signers: Signers
) -> None:
    registry.faults.append(Fault("PUT", "/manifests/", 400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}', times=1))
    assert attach(repository(registry), DIGEST, some(signers))
    registry.faults.append(Fault("PUT", "/manifests/", 400, b'{"errors":[{"code":"MANIFEST_INVALID"}]}'))
    with pytest.raises(RegistryRefused, match="MANIFEST_INVALID"):
        attach(repository(registry), DIGEST, some(signers))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_trouble_that_passes_is_no_trouble_and_lasting_trouble_is_no_answer(
    registry: StandInRegistry, signers: Signers, method: str
) -> None:
    registry.faults.append(Fault(method, "", 503, times=1))
    attach(repository(registry), DIGEST, some(signers))
    registry.faults.append(Fault(method, "", 503))
    with pytest.raises(Unavailable):
        attach(repository(registry), DIGEST, some(signers))


def test_an_unreachable_registry_is_never_an_empty_one(registry: StandInRegistry, signers: Signers) -> None:
    attach(repository(registry), DIGEST, some(signers))
    registry.faults.append(Fault("GET", "/blobs/", 500))
    with pytest.raises(Unavailable):
        fetch(repository(registry), DIGEST)


def test_what_is_no_envelope_or_far_too_large_is_passed_over(registry: StandInRegistry, signers: Signers) -> None:
    here = repository(registry)
    good = here.upload(some(signers)[0].envelope)
    tar, large = here.upload(b"a tar"), here.upload(b"x" * (LARGEST + 1))
    layers = [{"mediaType": kind, "size": blob.size, "digest": blob.digest}
              for kind, blob in (("application/vnd.oci.image.layer.v1.tar", tar), (ENVELOPE, large), (ENVELOPE, good), (ENVELOPE, good))]  # fmt: skip
    attached._put(here, TAG, layers)
    assert [sha(each) for each in fetch(here, DIGEST)] == [good.digest]
    attached._put(here, TAG, [layers[2]] * 300)
    assert [sha(each) for each in fetch(here, DIGEST)] == [good.digest]
    with pytest.raises(UsageProblem, match="more than"):
        attach(here, DIGEST, [Attestation(b"x" * (LARGEST + 1), PROVENANCE)])


# Who may push there may push anything. `Flood` makes what is then beside an image: the good ones, and the junk.


@dataclass
class Flood:
    """A tag whose layers somebody else has added to."""

    server: StandInRegistry
    signers: Signers
    layers: list[dict[str, Any]] = field(default_factory=list)

    def add(self, raw: bytes, size: int | None = None, **more: Any) -> None:
        self.server.blobs.setdefault("hello", {})[sha(raw)] = raw
        self.layers.append(
            {"mediaType": ENVELOPE, "size": len(raw) if size is None else size, "digest": sha(raw), **more}
        )

    def said(self, number: int, who: str = "provenance", about: str = DIGEST) -> bytes:
        kind = {"provenance": PROVENANCE, "test-result": TEST_RESULT, "permit": SUMMARY}.get(who, PROVENANCE)
        return make_statement("x", about, kind, {"n": number}, self.signers.key(who))

    def fetched(self) -> list[bytes]:
        raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": self.layers[0], "layers": self.layers})
        self.server.manifests.setdefault("hello", {})[TAG] = (MANIFEST, raw.encode())
        return fetch(repository(self.server), DIGEST, self.signers.ring)


def small_junk(flood: Flood) -> None:
    for number in range(300):
        flood.add(b"{}%d" % number)


def by_a_strangers_key(flood: Flood) -> None:
    for number in range(40):
        flood.add(flood.said(number, "stranger"))


def by_a_key_for_something_else(flood: Flood) -> None:
    for number in range(40):
        flood.add(make_statement("x", DIGEST, PROVENANCE, {"n": number}, flood.signers.key("permit")))


def good_ones_of_other_images(flood: Flood) -> None:
    for number in range(40):
        flood.add(flood.said(number, about="sha256:" + "cd" * 32))


def one_good_one_with_other_signatures_added(flood: Flood) -> None:
    whole = json.loads(flood.said(0))
    for number in range(40):
        more = {"keyid": f"{number}", "sig": whole["signatures"][0]["sig"]}
        flood.add(json.dumps({**whole, "signatures": [*whole["signatures"], more]}).encode())


def large_junk_that_is_said_to_be_small(flood: Flood, count: int = 6) -> None:
    for number in range(count):
        flood.add(b"%d" % number + b"x" * LARGEST, size=1)


def junk_as_large_as_may_be(flood: Flood, count: int = 6) -> None:
    for number in range(count):
        flood.add(b"%d" % number + b"x" * (LARGEST - 3))


def large_junk_listed_twice(flood: Flood, count: int = 6) -> None:
    """First as small, so that it is read early, and then as large as it is, so that it is read whole."""
    for number in range(count):
        raw = b"%d" % number + b"y" * (LARGEST - 3)
        flood.add(raw, size=1)
        flood.add(raw)


def layers_of_which_nothing_is_there(flood: Flood) -> None:
    for number in range(40):
        flood.add(b"gone %d" % number)
        flood.server.blobs["hello"].pop(str(flood.layers[-1]["digest"]))


def the_good_ones_again_with_wrong_sizes(flood: Flood) -> None:
    flood.layers += [{**layer, "size": size} for layer in list(flood.layers) for size in (0, 1, LARGEST, LARGEST + 1)]


@pytest.mark.parametrize(
    "flooded",
    [small_junk, by_a_strangers_key, by_a_key_for_something_else, good_ones_of_other_images,
     one_good_one_with_other_signatures_added, large_junk_that_is_said_to_be_small, junk_as_large_as_may_be,
     large_junk_listed_twice, layers_of_which_nothing_is_there, the_good_ones_again_with_wrong_sizes],
)  # fmt: skip
@pytest.mark.parametrize("good_come", ["first", "last"])
def test_a_flood_is_not_in_the_way_of_what_is_good(
    registry: StandInRegistry,
    signers: Signers,
    flooded: Callable[[Flood], None],
    good_come: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attached, "MOST", 10)
    monkeypatch.setattr(attached, "BUDGET", 2**21)
    flood = Flood(registry, signers)
    good = [flood.said(number, who) for number in (1, 2) for who in ("provenance", "test-result", "permit")]
    if good_come == "last":
        flooded(flood)
    for each in good:
        flood.add(each)
    if good_come == "first":
        flooded(flood)
    found = flood.fetched()
    assert [each for each in found if each in good] == good and len(found) <= len(good) + MOST_STRANGE + 1


def test_what_cannot_be_read_is_taken_from_the_budget_too(
    registry: StandInRegistry, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "BUDGET", 4 * LARGEST)
    flood = Flood(registry, signers)
    for number in range(40):
        flood.add(b"gone %d" % number, size=LARGEST)
        registry.blobs["hello"].pop(str(flood.layers[-1]["digest"]))
    assert flood.fetched() == [] and len(registry.requests("GET", "/blobs/")) == 4


def test_what_is_kept_of_a_flood_is_bounded(registry: StandInRegistry, signers: Signers) -> None:
    flood = Flood(registry, signers)
    flood.add(flood.said(1))
    junk_as_large_as_may_be(flood, 50)  # 25 MiB
    tracemalloc.start()
    try:
        assert len(flood.fetched()) == 1 + MOST_STRANGE
        assert tracemalloc.get_traced_memory()[1] < 18 * 2**20
    finally:
        tracemalloc.stop()


def test_of_ones_own_the_newest_count(
    registry: StandInRegistry, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "MOST", 3)
    flood = Flood(registry, signers)
    results = [flood.said(number, "test-result") for number in range(5)]
    build = flood.said(0)
    for each in (build, *results):
        flood.add(each)
    assert flood.fetched() == [build, *results[-3:]]


def test_more_than_a_tag_can_hold_is_told_with_what_to_do(
    registry: StandInRegistry, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = Flood(registry, signers)
    monkeypatch.setattr(attached, "MOST_READ", 5)
    for number in range(6):
        flood.add(flood.said(number))
    with pytest.raises(Refused, match="has 6 attestations, and more than 5 are not read") as caught:
        flood.fetched()
    assert "docs/keys.md" in caught.value.hint
    with pytest.raises(RegistryRefused, match="has 7 attestations"):
        attach(repository(registry), DIGEST, some(signers))


def test_more_signatures_than_can_be_checked_in_time_are_told_with_what_to_do(
    registry: StandInRegistry, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sum(len(keys) for keys in signers.ring.values())
    monkeypatch.setattr(attached, "MOST_CHECKED", 9 * keys)
    flood = Flood(registry, signers)
    whole = json.loads(flood.said(0, "stranger"))
    flood.add(flood.said(1))
    flood.add(json.dumps({**whole, "signatures": whole["signatures"] * 8}).encode())
    assert len(flood.fetched()) == 2, "nine"
    flood.add(flood.said(2))
    with pytest.raises(Refused, match="more signatures than are checked") as caught:
        flood.fetched()
    assert "docs/keys.md" in caught.value.hint


def test_thousands_of_announcements_keep_nobody_from_writing(registry: StandInRegistry, signers: Signers) -> None:
    """Of which none announces anything: what is true of all is looked at a few at a time."""
    registry.add_image("hello", "image")
    for number in range(3000):
        registry.manifests["hello"][f"{TAG}.{number:032x}"] = registry.manifests["hello"]["image"]
    made = some(signers)
    assert attach(repository(registry), DIGEST, made) and fetch(repository(registry), DIGEST) == [made[0].envelope]
    assert len(registry.requests("GET", r"/manifests/.*\.att\.")) <= 2 * (attached.MOST_TAKEN_UP + 1)


def test_tags_are_listed_page_by_page(registry: StandInRegistry) -> None:
    assert tag_of(DIGEST) == TAG
    link = {"Link": '</v2/hello/tags/list?n=2&last=b2>; rel="next"'}
    registry.faults.append(Fault("GET", r"tags/list\?n=1000&last=b$", 200, b'{"tags": ["b1", "b2"]}', link))
    registry.faults.append(Fault("GET", r"last=b2$", 200, b'{"tags": ["b3", "c"]}', link))
    assert repository(registry).tags("b") == ["b1", "b2", "b3"]
    registry.faults[:] = [Fault("GET", "tags/list", 200, b'{"tags": null}')]
    assert repository(registry).tags("b") == []
    many = [f"production-{n:064x}" for n in range(70_000)]  # more than is taken of anything else
    registry.faults[:] = [Fault("GET", "tags/list", 200, json.dumps({"tags": ["b1", *many]}).encode())]
    assert repository(registry).tags("b") == ["b1"]
    for nothing in (b'{"names": []}', DEEP):
        registry.faults[:] = [Fault("GET", "tags/list", 200, nothing)]
        with pytest.raises(RegistryRefused, match="no list of tags"):
            repository(registry).tags("b")
    registry.faults[:] = [Fault("GET", "tags/list", 400, DEEP)]
    with pytest.raises(RegistryRefused):
        repository(registry).tags("b")


def test_labels_nested_too_deep_are_none(registry: StandInRegistry) -> None:
    here = repository(registry)
    config = here.upload(DEEP)
    described = {"digest": config.digest, "size": config.size}
    raw = json.dumps({"mediaType": MANIFEST, "config": described, "layers": []}).encode()
    assert here.labels(Manifest(raw, MANIFEST, sha(raw))) == {}
