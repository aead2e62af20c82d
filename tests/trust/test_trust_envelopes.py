"""Envelopes, statements and keys: what two programs could read differently, or anybody could have made, is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from signing import Signers, new_signers, write_key

from cdlib.errors import UsageProblem
from cdlib.trust import dsse
from cdlib.trust.encoding import LARGEST, Unsound, read_json, read_time, write_json
from cdlib.trust.keys import public_from_pem, read_keyring, read_private, read_public
from cdlib.trust.statement import PROVENANCE, STATEMENTS, SUMMARY, TEST_RESULT, make_statement, read_statement

DIGEST = "sha256:" + "ab" * 32
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
Document = dict[str, Any]


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return new_signers(tmp_path_factory.mktemp("keys"))


def good(signers: Signers, predicate: Document | None = None) -> bytes:
    return make_statement("r.test/x", DIGEST, PROVENANCE, predicate or {"a": "ü"}, signers.key("provenance"))


def signed(signers: Signers, body: bytes, key: str = "provenance") -> bytes:
    return dsse.sign(body, signers.key(key))


def statement(**more: Any) -> Document:
    subject = [{"name": "x", "digest": {"sha256": DIGEST[7:]}}]
    return {"_type": STATEMENTS[0], "subject": subject, "predicateType": PROVENANCE, "predicate": {}, **more}


def test_the_encoding_is_that_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("ü", b"\xff") == b"DSSEv1 2 \xc3\xbc 1 \xff"  # bytes are counted


def test_what_is_signed_is_read_and_key_ids_are_those_of_the_der(signers: Signers) -> None:
    raw = good(signers)
    document = json.loads(raw)
    der = signers.key("provenance").key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert document["signatures"][0]["keyid"] == "SHA256:" + hashlib.sha256(der).hexdigest()
    read = read_statement(raw, signers.ring)
    assert read.digests == (DIGEST,) and read.predicate == {"a": "ü"} and read.purposes == {"provenance"}
    assert dsse.verify(raw, signers.ring["provenance"])[1] == {document["signatures"][0]["keyid"]}


@pytest.mark.parametrize("kind", STATEMENTS)
@pytest.mark.parametrize("keyid", ["", "anything", None])
def test_what_cosign_writes_is_read(signers: Signers, kind: str, keyid: str | None) -> None:
    document = json.loads(signed(signers, write_json(statement(_type=kind))))
    (signature,) = document["signatures"]
    signature["keyid"] = keyid
    if keyid is None:
        del signature["keyid"]
    assert read_statement(json.dumps(document).encode() + b"\n", signers.ring).predicate_type == PROVENANCE


def edited(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda raw: json.dumps({**json.loads(raw), **fields}).encode()


def payload(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    return lambda raw: edited(payload=change(json.loads(raw)["payload"]))(raw)


def signature(change: Callable[[str], Any]) -> Callable[[bytes], bytes]:
    return lambda raw: edited(signatures=[{"keyid": "", "sig": change(json.loads(raw)["signatures"][0]["sig"])}])(raw)


def loose_tail(text: str) -> str:
    """Base64 of the same bytes, with other bits in the tail that decoders drop."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body, padding = text.rstrip("="), text.count("=")
    assert padding
    return body[:-1] + letters[letters.index(body[-1]) ^ 1] + "=" * padding


def as_raw_numbers(text: str) -> str:
    r, s = decode_dss_signature(base64.b64decode(text))
    return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()


ENVELOPES: dict[str, Callable[[bytes], bytes]] = {
    "another payload type": edited(payloadType="application/json"),
    "a payload type with a parameter": edited(payloadType=dsse.PAYLOAD_TYPE + "; charset=utf-8"),
    "a payload type that is no text": edited(payloadType=["application/vnd.in-toto+json"]),
    "URL-safe base64": payload(lambda text: base64.urlsafe_b64encode(base64.b64decode(text)).decode()),
    "unpadded base64": payload(lambda text: text.rstrip("=")),
    "a line break in base64": payload(lambda text: text[:8] + "\n" + text[8:]),
    "loose bits at the end of base64": payload(loose_tail),
    "base64 that is no text": edited(payload=7),
    "base64 beyond ASCII": payload(lambda text: text + "ü"),
    "an empty payload": edited(payload=""),
    "data after the envelope": lambda raw: raw + b"{}",
    "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
    "two payloads": lambda raw: raw.replace(b'{"payload":', b'{"payload":"e30=","payload":', 1),
    "a payload under another case": edited(PAYLOAD="e30="),
    "an unknown field": edited(more=1),
    "no payload type": lambda raw: json.dumps(
        {k: v for k, v in json.loads(raw).items() if k != "payloadType"}
    ).encode(),
    "no signatures": edited(signatures=[]),
    "signatures that are no list": edited(signatures={}),
    "a signature that is no object": edited(signatures=["x"]),
    "nine signatures": lambda raw: edited(signatures=json.loads(raw)["signatures"] * 9)(raw),
    "a signature with an unknown field": lambda raw: edited(
        signatures=[{**json.loads(raw)["signatures"][0], "cert": "x"}]
    )(raw),
    "a key id that is no text": lambda raw: edited(signatures=[{**json.loads(raw)["signatures"][0], "keyid": 1}])(raw),
    "bad base64 in one of two signatures": lambda raw: edited(
        signatures=[*json.loads(raw)["signatures"], {"keyid": "", "sig": "%%"}]
    )(raw),
    "an empty signature": signature(lambda _: ""),
    "a signature of null": signature(lambda _: None),
    "a signature as two raw numbers": signature(as_raw_numbers),
    "a signature with a byte too many": signature(lambda s: base64.b64encode(base64.b64decode(s) + b"\0").decode()),
    "a signature of zeros": signature(lambda _: base64.b64encode(encode_dss_signature(0, 0)).decode()),
    "another payload under the signature": payload(lambda _: base64.b64encode(write_json(statement())).decode()),
    "no JSON": lambda _: b"\x00\x01",
    "a list": lambda raw: b"[" + raw + b"]",
    "too large": lambda raw: raw + b" " * LARGEST,
    "nested too deep": lambda _: b'{"a":' * 50_000,
    "a large number": edited(more=12345678901234567890),
    "NaN": lambda raw: raw[:-1] + b',"x":NaN}',
}


@pytest.mark.parametrize("how", ENVELOPES)
def test_unsound_envelopes(signers: Signers, how: str) -> None:
    with pytest.raises(Unsound):
        read_statement(ENVELOPES[how](good(signers, {"a": "x", "pad": "~~~"})), signers.ring)


@pytest.mark.parametrize("value", ["\\ud800", "\\udc00\\ud800"])
def test_half_a_character_is_not_read(value: str) -> None:
    """Python would read it, and fail only where it is written or shown."""
    for raw in (f'{{"x": "{value}"}}', f'{{"x": [{{"{value}": 1}}]}}', '{"x": 1e400}'):
        with pytest.raises(Unsound):
            read_json(raw.encode())
    assert read_json(b'{"x": "\\ud83d\\ude00"}') == {"x": "\U0001f600"}


STATEMENT_TRAPS: dict[str, bytes] = {
    "another type": write_json(statement(_type="https://example.org/Statement")),
    "predicateType twice": write_json(statement()).replace(
        b'"predicateType":', b'"predicateType":"https://slsa.dev/provenance/v0.2","predicateType":'
    ),
    "PredicateType": write_json(statement()).replace(b'"predicateType"', b'"PredicateType"'),
    "both cases": write_json(statement(PredicateType=TEST_RESULT)),
    "an unknown field": write_json(statement(more=1)),
    "no predicate": write_json({k: v for k, v in statement().items() if k != "predicate"}),
    "a predicate that is no object": write_json(statement(predicate=[])),
    "a predicate type that is none": write_json(statement(predicateType=None)),
    "an unknown predicate type": write_json(statement(predicateType="https://slsa.dev/provenance/v0.2")),
    "no subject": write_json(statement(subject=[])),
    "a subject that is no list": write_json(statement(subject={"digest": {"sha256": DIGEST[7:]}})),
    "a subject without digest": write_json(statement(subject=[{"name": "x"}])),
    "a digest that is text": write_json(statement(subject=[{"name": "x", "digest": DIGEST}])),
    "a subject with unknown fields": write_json(statement(subject=[{"digest": {"sha256": "a"}, "Digest": {}}])),
    "too many subjects": write_json(statement(subject=[{"digest": {"sha256": "a"}}] * 65)),
    "data after the statement": write_json(statement()) + b"{}",
    "no object": b"[]",
    "no UTF-8": b'{"_type":"\xff"}',
}


@pytest.mark.parametrize("how", STATEMENT_TRAPS)
def test_unsound_statements_although_the_right_key_signed_them(signers: Signers, how: str) -> None:
    with pytest.raises(Unsound):
        read_statement(signed(signers, STATEMENT_TRAPS[how]), signers.ring)


@pytest.mark.parametrize("digest", [{"sha256": DIGEST[7:].upper()}, {"sha512": DIGEST[7:]}, {"sha256": None}])
def test_a_subject_is_compared_as_cosign_does(signers: Signers, digest: Document) -> None:
    raw = signed(signers, write_json(statement(subject=[{"digest": digest}])))
    assert DIGEST not in read_statement(raw, signers.ring).digests


def test_any_of_several_subjects_counts(signers: Signers) -> None:
    subjects = [{"name": "y", "digest": {"sha256": "0" * 64}}, {"digest": {"sha256": DIGEST[7:]}}]
    assert DIGEST in read_statement(signed(signers, write_json(statement(subject=subjects))), signers.ring).digests


@pytest.mark.parametrize("kind", [PROVENANCE, TEST_RESULT, SUMMARY])
@pytest.mark.parametrize("who", ["provenance", "test-result", "permit", "break-glass", "stranger"])
def test_each_key_says_only_what_it_is_for(signers: Signers, kind: str, who: str) -> None:
    raw = make_statement("x", DIGEST, kind, {}, signers.key(who))
    purposes = {PROVENANCE: {"provenance"}, TEST_RESULT: {"test-result"}, SUMMARY: {"permit", "break-glass"}}[kind]
    if who in purposes:
        assert read_statement(raw, signers.ring).purposes == {who}
        return
    with pytest.raises(Unsound, match=r"may not say|no key that targets.yaml lists"):
        read_statement(raw, signers.ring)


def test_keys_are_counted_and_not_signatures(signers: Signers) -> None:
    once, again = json.loads(good(signers)), json.loads(good(signers))
    stranger = json.loads(signed(signers, base64.b64decode(once["payload"]), "stranger"))["signatures"]
    r, s = decode_dss_signature(base64.b64decode(once["signatures"][0]["sig"]))
    twin = {"keyid": "other", "sig": base64.b64encode(encode_dss_signature(r, P256_ORDER - s)).decode()}
    garbage = {"keyid": "", "sig": "AAAA"}
    once["signatures"] += [*again["signatures"], twin, *stranger, garbage]
    _, who = dsse.verify(json.dumps(once).encode(), signers.ring["provenance"])
    assert who == {signers.key("provenance").public.id}


def test_the_key_id_gives_nobody_away(signers: Signers) -> None:
    document = json.loads(signed(signers, write_json(statement()), "stranger"))
    document["signatures"][0]["keyid"] = signers.key("provenance").public.id
    with pytest.raises(Unsound, match="no key"):
        read_statement(json.dumps(document).encode(), signers.ring)


def test_another_hash_is_no_signature(signers: Signers) -> None:
    document = json.loads(good(signers))
    body = base64.b64decode(document["payload"])
    sig = signers.key("provenance").key.sign(dsse.pae(dsse.PAYLOAD_TYPE, body), ec.ECDSA(hashes.SHA384()))
    plain = signers.key("provenance").key.sign(body, ec.ECDSA(hashes.SHA256()))
    for each in (sig, plain):  # and neither is one of the body alone
        document["signatures"] = [{"sig": base64.b64encode(each).decode()}]
        with pytest.raises(Unsound, match="no key"):
            read_statement(json.dumps(document).encode(), signers.ring)


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+00:00", "", 5]
)
def test_times_are_in_utc(text: object) -> None:
    assert read_time("2026-11-22T10:00:00.123456789Z").isoformat() == "2026-11-22T10:00:00.123456+00:00"
    with pytest.raises(Unsound):
        read_time(text)


def test_numbers_that_readers_would_change_are_refused() -> None:
    assert read_json(b'{"n": 9007199254740992}') == {"n": 2**53}
    for digits in ("9007199254740993", "-9007199254740993", "1" * 5000):
        with pytest.raises(Unsound):
            read_json(b'{"n": ' + digits.encode() + b"}")


class TestKeys:
    def test_ed25519_rsa_and_other_curves_are_refused(self, tmp_path: Path) -> None:
        others = [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048),
                  ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256K1())]  # fmt: skip
        for key in others:
            text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            with pytest.raises(UsageProblem, match="no ECDSA P-256 key"):
                public_from_pem(text, "a key")
            file = tmp_path / "k.pem"
            file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.chmod(0o600)
            with pytest.raises(UsageProblem, match="no ECDSA P-256 key"):
                read_private(file)

    def test_a_file_has_one_public_key_and_nothing_else(self, signers: Signers) -> None:
        text = signers.file("permit").with_suffix(".pub").read_text()
        assert public_from_pem(text.replace("\n", "\r\n"), "k").id == signers.key("permit").public.id
        private = signers.file("permit").read_text()
        for wrong in (text + text, f"Comment\n{text}", f"{text}more", private, "", text.replace("PUBLIC", "RSA PUBLIC"),
                      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):  # fmt: skip
            with pytest.raises(UsageProblem, match=r"k (is|holds)"):
                public_from_pem(wrong, "k")

    def test_a_point_that_is_not_on_the_curve_is_refused(self, signers: Signers) -> None:
        der = bytearray(
            base64.b64decode("".join(signers.file("permit").with_suffix(".pub").read_text().split("\n")[1:-2]))
        )
        der[-1] ^= 1
        body = base64.encodebytes(bytes(der)).decode()
        with pytest.raises(UsageProblem):
            public_from_pem(f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n", "k")

    def test_private_keys_come_from_files_that_not_everybody_reads(self, tmp_path: Path) -> None:
        file = tmp_path / "k.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(file, key)
        assert read_private(file).public == read_public(tmp_path / "k.pub")
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        assert read_private(file).public.id == read_public(tmp_path / "k.pub").id
        file.chmod(0o604)
        with pytest.raises(UsageProblem, match="everybody"):
            read_private(file)

    def test_no_error_shows_a_private_key(self, tmp_path: Path) -> None:
        file = tmp_path / "k.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
        lines = [line for line in (plain + sealed).splitlines() if "-----" not in line]
        for text in (plain + plain, sealed, plain.replace("A", "B"), plain[:100]):
            file.write_text(text)
            file.chmod(0o600)
            with pytest.raises(UsageProblem) as caught:
                read_private(file)
            assert not any(line in str(vars(caught.value)) for line in lines)
        with pytest.raises(UsageProblem, match="holds a key itself") as caught:
            read_private(Path(plain))
        assert not any(line in str(vars(caught.value)) for line in lines)
        write_key(file, key)
        loaded = read_private(file)
        assert not any(line in f"{loaded!r}{loaded.public!r}" for line in lines)

    def test_missing_and_unreadable_files_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        for name in ("none", "binary", "."):
            for read in (read_public, read_private):
                with pytest.raises(UsageProblem, match=r"key .*: "):
                    read(tmp_path / name)

    def test_a_key_has_one_purpose(self, signers: Signers) -> None:
        file = signers.files["permit"][0]
        with pytest.raises(UsageProblem, match="one key twice") as caught:
            read_keyring({**signers.files, "test-result": (file,)})
        assert "keys.permit" in caught.value.message and "keys.test-result" in caught.value.message
        assert read_keyring({}) == {}
