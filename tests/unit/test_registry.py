"""The registry client against a stand-in that fails as real registries do."""

from __future__ import annotations

import json
import ssl
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import Fault, Seen, Server, StandInRegistry, basic_auth, bearer_auth, serving, sha

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, RegistryRefused, Unavailable, UsageProblem
from cdlib.image.promote import promote, set_tag
from cdlib.network import is_loopback
from cdlib.reference import parse
from cdlib.registry.auth import Credentials, find_credentials, parse_challenges
from cdlib.registry.connection import authority, proxy_for
from cdlib.registry.manifest import Blob, Manifest
from cdlib.registry.repository import Registries, Repository
from cdlib.registry.transport import Transport
from cdlib.run import Run


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No waiting between tries, and nobody's credentials."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "RETRY_AFTER_CAP", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def repository(server: StandInRegistry, path: str, who: Credentials | None = None, seconds: float = 20) -> Repository:
    return Repository(Transport(server.host, Deadline(seconds), credentials=lambda _: who), path)


def test_a_manifest_comes_as_its_bytes_and_under_all_four_types(registry: StandInRegistry) -> None:
    digest = registry.add_image("a/b", "1")
    index = registry.add_index("a/b", "multi", [digest])
    found = repository(registry, "a/b").manifest("1")
    assert found and found.digest == digest and sha(found.raw) == digest and not found.is_index
    assert len(found.blobs) == 2 and found.config in found.blobs
    multi = repository(registry, "a/b").manifest(index)
    assert multi and multi.is_index and multi.children == (digest,)
    assert repository(registry, "a/b").digest("1") == digest
    assert all(seen.headers["Accept"].count("vnd.") == 4 for seen in registry.seen)
    assert all(seen.headers["Accept-Encoding"] == "identity" for seen in registry.seen)


def test_what_is_not_there_is_no_error(registry: StandInRegistry) -> None:
    there = repository(registry, "a/b")
    assert there.manifest("none") is None and there.digest("none") == "" and not there.has_blob(Blob(sha(b"x"), 1))


def test_a_registry_that_names_no_digest_is_asked_for_the_bytes(registry: StandInRegistry) -> None:
    digest = registry.add_image("a/b", "1")
    registry.faults.append(Fault("HEAD", "manifests", 200, headers={"Content-Length": "0"}))
    assert repository(registry, "a/b").digest("1") == digest


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotAllowed), (403, NotAllowed), (404, RegistryRefused), (400, RegistryRefused), (302, RegistryRefused)],
)
def test_answers_that_no_retry_helps(registry: StandInRegistry, status: int, kind: type[CdError]) -> None:
    registry.faults.append(
        Fault("POST", "uploads", status, b'{"errors":[{"code":"DENIED","message":"no <b>way</b>"}]}')
    )
    with pytest.raises(kind) as caught:
        repository(registry, "a/b").require_writable()
    assert "DENIED: no <b>way</b>" in caught.value.message and str(status) in caught.value.message
    assert caught.value.hint and len(registry.requests("POST")) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_trouble_is_tried_again_and_told_in_the_end(registry: StandInRegistry, status: int) -> None:
    digest = registry.add_image("a/b", "1")
    registry.faults.append(Fault("GET", "manifests", status, b"<html>oops</html>", {"Retry-After": "1"}, times=4))
    found = repository(registry, "a/b").manifest("1")
    assert found and found.digest == digest and len(registry.requests("GET")) == 5
    registry.faults.append(Fault("GET", "manifests", status))
    with pytest.raises(Unavailable) as caught:
        repository(registry, "a/b").manifest("1")
    assert str(status) in caught.value.message and "html" not in caught.value.message


def test_an_upload_is_tried_so_often_and_no_more(registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    registry.faults.append(Fault("POST", "uploads", 503))
    with pytest.raises(Unavailable):
        repository(registry, "a/b").upload(b"x")
    assert len(registry.requests("POST")) == retry.ATTEMPTS


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://R.Example.org/v2/", True), ("https://r.example.org:443/x", True), ("http://r.example.org/x", True),
        ("https://r.example.org:5000/", False), ("https://r.example.org.evil.test/", False), ("https://evil@r.example.org/", False),
        ("https://r.example.org:x/", False), ("https://r.example.org:99999/", False),
    ],
)  # fmt: skip
def test_one_address_may_be_written_in_several_ways(url: str, ours: bool) -> None:
    assert Transport("r.example.org", Deadline(9))._is_ours(url) is ours
    assert Transport("R.example.org:443", Deadline(9))._is_ours(url) is ours


def test_a_connection_cut_half_way_is_noticed_and_tried_again(registry: StandInRegistry) -> None:
    digest = registry.add_image("a/b", "1")
    raw = registry.manifests["a/b"]["1"][1]
    cut = Fault(
        "GET", "manifests", 200, raw[:40], {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, times=2
    )
    cut.cut = True
    registry.faults += [cut, Fault("GET", "manifests", drop=True, times=1)]
    found = repository(registry, "a/b").manifest("1")
    assert found and found.digest == digest and len(registry.requests("GET")) == 4
    registry.faults.append(Fault("GET", "manifests", drop=True))
    with pytest.raises(Unavailable, match="connection"):
        repository(registry, "a/b").manifest("1")


def test_other_bytes_than_the_digest_names_are_never_taken(registry: StandInRegistry) -> None:
    digest = registry.add_image("a/b", "1")
    kind, raw = registry.manifests["a/b"]["1"]
    registry.faults.append(Fault("GET", "manifests", 200, raw.replace(b"layer", b"LAYER"), {"Content-Type": kind}))
    with pytest.raises(Unavailable, match="other bytes"):
        repository(registry, "a/b").manifest(digest)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"mediaType":"application/x"}', b'{"config":{}}'])
def test_what_is_no_manifest_is_refused(registry: StandInRegistry, body: bytes) -> None:
    registry.faults.append(Fault("GET", "manifests", 200, body, {"Content-Type": "application/json"}))
    with pytest.raises(RegistryRefused, match="no image that can be read"):
        repository(registry, "a/b").manifest("1")


def test_an_endless_answer_ends(registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdlib.registry.answers.LARGEST", 1000)
    registry.faults.append(Fault("GET", "manifests", 200, b"x" * 5000))
    with pytest.raises(RegistryRefused, match="more than 1000 bytes"):
        repository(registry, "a/b").manifest("1")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (507, b""),
        (500, b"write /var/lib/registry: No space left on device"),
        (500, b'{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":'
              b'{"Op":"mkdir","Path":"/x","Err":28}}}]}'),
    ],
)  # fmt: skip
def test_a_full_disk_is_said_at_once(registry: StandInRegistry, status: int, body: bytes) -> None:
    registry.faults.append(Fault("POST", "uploads", status, body))
    with pytest.raises(Unavailable, match="disk is full"):
        repository(registry, "a/b").require_writable()
    assert len(registry.requests("POST")) == 1


def test_no_registry_at_all_and_no_time() -> None:
    with serving(StandInRegistry()) as server:
        gone = repository(server, "a/b")
    with pytest.raises(Unavailable, match="refused") as caught:
        gone.digest("1")
    assert caught.value.exit_code == 69 and "Traceback" not in caught.value.message
    with serving(StandInRegistry()) as server, pytest.raises(OutOfTime):
        repository(server, "a/b", seconds=0).digest("1")


def test_plain_http_is_for_this_machine_and_where_operators_say_so() -> None:
    assert all(map(is_loopback, ("localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000")))
    assert not any(map(is_loopback, ("localhost.example.org", "10.0.0.1", "registry", "[2001:db8::1]:5000")))
    assert Transport("r.example.org", Deadline(1)).base == "https://r.example.org"
    registries = Registries(Run("test", Deadline(1)), frozenset({"r.example.org:5000"}))
    assert registries.repository(parse("r.example.org:5000/a")).transport.base == "http://r.example.org:5000"
    assert registries.repository(parse("python")).transport.base == "https://registry-1.docker.io"


# Who we are


def test_basic_credentials_are_given_when_asked_for(registry: StandInRegistry) -> None:
    registry.auth = basic_auth("me", "pässword")
    digest = registry.add_image("a/b", "1")
    there = repository(registry, "a/b", Credentials("me", "pässword"))
    assert there.digest("1") == digest and there.digest("1") == digest
    assert ["Authorization" in seen.headers for seen in registry.seen] == [False, True, True]


@pytest.mark.parametrize("who", [None, Credentials("me", "wrong")])
def test_wrong_or_no_credentials(registry: StandInRegistry, who: Credentials | None) -> None:
    registry.auth = basic_auth("me", "secret")
    with pytest.raises(NotAllowed, match="401") as caught:
        repository(registry, "a/b", who).digest("1")
    assert f"docker login {registry.host}" in caught.value.hint and len(registry.seen) == 2


def test_a_token_is_fetched_for_each_scope_and_kept(registry: StandInRegistry) -> None:
    def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps({"token": "tok-12345678"}).encode()

    registry.add_image("a/b", "1")
    with serving(Server(answer)) as tokens:
        registry.auth = bearer_auth(f"{tokens.url}/token", "tok-12345678")
        there = repository(registry, "a/b", Credentials("me", "secret-1"))
        there.digest("1")
        there.manifest("1")
        there.require_writable()
        asked = tokens.requests("GET")
    assert len(asked) == 2  # to pull, and to push
    assert "scope=repository%3Aa%2Fb%3Apull&service" not in asked[0].path
    assert "service=registry.test" in asked[0].path and "scope=repository%3Aa%2Fb%3Apull%2Cpush" in asked[1].path
    assert asked[0].headers["Authorization"].startswith("Basic ")
    assert all(
        "secret-1" not in str(seen) and "Basic" not in seen.headers.get("Authorization", "") for seen in registry.seen
    )


def test_an_identity_token_is_traded_and_a_bad_answer_told(registry: StandInRegistry) -> None:
    deep = b"[" * 3000 + b"]" * 3000
    answers = iter([(200, {}, b'{"access_token":"tok-12345678"}'), (200, {}, b"{}"), (200, {}, deep), (403, {}, b"no")])
    with serving(Server(lambda _: next(answers))) as tokens:
        registry.auth = bearer_auth(f"{tokens.url}/token", "tok-12345678")
        registry.add_image("a/b", "1")
        assert repository(registry, "a/b", Credentials("<token>", "", "refresh-me")).digest("1")
        form = tokens.requests("POST")[0].body.decode()
        assert "grant_type=refresh_token" in form and "refresh_token=refresh-me" in form
        for _ in range(2):
            with pytest.raises(Unavailable, match="without a token"):
                Transport(registry.host, Deadline(9), credentials=lambda _: None, attempts=1).send(
                    "GET", "/v2/a/b/manifests/1", "reading", scopes=(), ok=(200,)
                )
        with pytest.raises(NotAllowed, match="403"):
            repository(registry, "a/b").digest("1")


@pytest.mark.parametrize("realm", ["http://tokens.example.org/t", "ftp://localhost/t", "/token", ""])
def test_credentials_never_go_to_a_realm_that_is_not_trusted(registry: StandInRegistry, realm: str) -> None:
    registry.auth = bearer_auth(realm, "t")
    with pytest.raises(NotAllowed):
        repository(registry, "a/b", Credentials("me", "secret-1")).digest("1")
    assert all("Authorization" not in seen.headers for seen in registry.seen)


def test_a_redirect_to_other_hosts_does_not_carry_credentials(registry: StandInRegistry) -> None:
    registry.auth = basic_auth("me", "secret-1")
    blob = b"content"
    with serving(Server(lambda _: (200, {}, blob))) as storage:
        # Not by the same name: that is what requests looks at.
        address = storage.url.replace("localhost", "127.0.0.1")
        registry.faults.append(Fault("GET", "blobs/sha256", 307, headers={"Location": f"{address}/there"}))
        there = repository(registry, "a/b", Credentials("me", "secret-1"))
        there.has_blob(Blob(sha(b"other"), 1))  # by now the registry has our credentials
        assert there.blob(Blob(sha(blob), len(blob))) == blob
        assert [seen.headers.get("Authorization") for seen in storage.seen] == [None]
        storage.seen.clear()
        # One that asks who we are gets no answer.
        storage.faults.append(Fault("GET", "there", 401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
        with pytest.raises(NotAllowed):
            there.blob(Blob(sha(blob), len(blob)))
        assert [seen.headers.get("Authorization") for seen in storage.seen] == [None]


def test_an_upload_elsewhere_does_not_carry_credentials(registry: StandInRegistry) -> None:
    registry.auth = basic_auth("me", "secret-1")
    source = StandInRegistry()
    source.add_image("a/b", "1")
    with serving(source), serving(Server(lambda _: (201, {}, b""))) as storage:
        registry.faults.append(Fault("POST", "uploads", 202, headers={"Location": f"{storage.url}/upload"}))
        there = repository(registry, "c/d", Credentials("me", "secret-1"))
        there.has_blob(Blob(sha(b"other"), 1))
        manifest = repository(source, "a/b").manifest("1")
        assert manifest
        there.copy(manifest.config, repository(source, "a/b"))
        (sent,) = storage.requests("PUT")
        assert "Authorization" not in sent.headers and sha(sent.body) == manifest.config.digest


def test_a_registry_behind_tls_is_not_followed_to_plain_http() -> None:
    there = Transport("r.example.org", Deadline(1))
    assert there._absolute("http://r.example.org/v2/x?a=b") == "https://r.example.org/v2/x?a=b"
    assert there._absolute("http://other.example.org/x") == "http://other.example.org/x"
    there._headers[()] = "Bearer x"
    assert "Authorization" in there._signed("https://r.example.org/v2/x", (), None)
    assert "Authorization" not in there._signed("http://other.example.org/x", (), None)


def test_challenges_are_read_as_written() -> None:
    header = 'Basic realm="a, b", Bearer realm="https://t/x",service="s",scope="repository:a/b:pull,push"'
    basic, bearer = parse_challenges(header)
    assert (basic.scheme, basic.realm) == ("basic", "a, b")
    assert (bearer.realm, bearer.service, bearer.scope) == ("https://t/x", "s", "repository:a/b:pull,push")
    assert parse_challenges("") == [] and parse_challenges("Negotiate abc") == []


def test_credentials_come_from_the_docker_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bin" / "docker-credential-lab"
    helper.parent.mkdir()
    helper.write_text(
        '#!/bin/sh\nread -r host\n[ "$host" = fail.test ] && { echo "the vault is sealed"; exit 1; }\n'
        'echo \'{"Username":"<token>","Secret":"tok-en"}\'\n'
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    config: dict[str, Any] = {
        "auths": {"plain.test:5000": {"auth": "bWU6c2VjOnJldA=="}},
        "credHelpers": {"helped.test": "lab", "fail.test": "lab", "none.test": "missing"},
    }
    folder = Path(tmp_path / "docker")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    assert find_credentials("plain.test:5000") == Credentials("me", "sec:ret")
    assert find_credentials("helped.test") == Credentials("", "", "tok-en")
    assert find_credentials("unknown.test") is None
    for host, said in (("fail.test", "sealed"), ("none.test", "not installed")):
        with pytest.raises(UsageProblem, match=said):
            find_credentials(host)
    assert "sec:ret" not in repr(find_credentials("plain.test:5000"))
    (folder / "config.json").write_text(json.dumps({"credsStore": "lab"}))
    assert find_credentials("other.test") == Credentials("", "", "tok-en")


def test_docker_is_not_asked_for_what_its_configuration_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docker.auth

    def load_config() -> None:
        raise AssertionError

    monkeypatch.setattr(docker.auth, "load_config", load_config)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_credentials("r.test") is None
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {"other.example": {}}}))
    assert find_credentials("r.test") is None
    for folder, kept in (("docker", {"credsStore": "x"}), ("docker", {"auths": {"https://r.test/v1/": {}}})):
        (tmp_path / folder / "config.json").write_text(json.dumps(kept))
        with pytest.raises(AssertionError):
            find_credentials("r.test")
    (tmp_path / "docker" / "config.json").rename(tmp_path / ".dockercfg")
    with pytest.raises(AssertionError):
        find_credentials("r.test")


def test_secrets_are_told_to_the_redactor(registry: StandInRegistry, tmp_path: Path) -> None:
    registry.auth = basic_auth("me", "hunter2hunter2")
    (tmp_path / "docker").mkdir()
    auth = {"auths": {registry.host: {"auth": "bWU6aHVudGVyMmh1bnRlcjI="}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(auth))
    run = Run("test", Deadline(9))
    registry.add_image("a/b", "1")
    assert Registries(run).repository(parse(f"{registry.host}/a/b")).digest("1")
    shown = run.redactor.text("said hunter2hunter2 or bWU6aHVudGVyMmh1bnRlcjI=")
    assert "hunter2" not in shown and "aHVudGVyMmh1" not in shown


# Promotion


def test_promotion_moves_no_bytes_inside_a_registry(registry: StandInRegistry) -> None:
    child = registry.add_image("candidates/a", "x", text="one")
    index = registry.add_index("candidates/a", "multi", [child, registry.add_image("candidates/a", "y", text="two")])
    source, destination = repository(registry, "candidates/a"), repository(registry, "a")
    manifest = source.manifest("multi")
    assert manifest
    moved = promote(source, destination, manifest)
    assert (moved.mounted, moved.copied) == (4, 0) and not registry.requests("PUT", "blobs")
    set_tag(destination, "1", manifest)
    order = [seen.path.rpartition("/")[2] for seen in registry.requests("PUT", "manifests")]
    assert order.index(child) < order.index(index) < order.index("1") == len(order) - 1
    assert registry.tags("a") == {"1": index}
    registry.seen.clear()
    again = promote(source, destination, manifest)
    assert (again.mounted, again.copied, again.present) == (0, 0, 0) and len(registry.seen) == 1


def test_a_registry_that_does_not_mount_gets_the_bytes_and_no_upload_stays_open(registry: StandInRegistry) -> None:
    registry.mounts = False
    digest = registry.add_image("candidates/a", "x")
    source, destination = repository(registry, "candidates/a"), repository(registry, "a")
    manifest = source.manifest("x")
    assert manifest
    assert promote(source, destination, manifest).copied == 2
    assert registry.manifests["a"][digest][1] == manifest.raw and not registry.open_uploads


def test_between_registries_only_what_is_missing_is_copied(registry: StandInRegistry) -> None:
    with serving(StandInRegistry()) as other:
        digest = other.add_image("c/a", "x")
        source, destination = repository(other, "c/a"), repository(registry, "a")
        manifest = source.manifest("x")
        assert manifest
        registry.blobs["a"] = {manifest.config.digest: other.blobs["c/a"][manifest.config.digest]}
        # The first try is cut half way.
        layer = next(blob for blob in manifest.blobs if blob != manifest.config)
        cut = Fault("GET", f"blobs/{layer.digest}", 200, b"lay", cut=True, times=1)
        other.faults.append(cut)
        moved = promote(source, destination, manifest)
        assert (moved.copied, moved.present, moved.mounted) == (1, 1, 0)
        assert registry.manifests["a"][digest][1] == manifest.raw and not registry.open_uploads
        assert registry.requests("PUT", "blobs")[-1].headers["Content-Length"] == str(layer.size)


def test_a_damaged_blob_is_never_stored(registry: StandInRegistry) -> None:
    with serving(StandInRegistry()) as other:
        other.add_image("c/a", "x")
        source, destination = repository(other, "c/a"), repository(registry, "a")
        manifest = source.manifest("x")
        assert manifest
        layer = next(blob for blob in manifest.blobs if blob != manifest.config)
        other.blobs["c/a"][layer.digest] = b"x" * layer.size
        with pytest.raises(Unavailable, match="damaged"):
            promote(source, destination, manifest)
        assert registry.tags("a") == {} and layer.digest not in registry.blobs["a"] and not registry.open_uploads


def test_a_tag_that_reads_back_otherwise_is_told(registry: StandInRegistry) -> None:
    ours, theirs = registry.add_image("a", "x", text="ours"), registry.add_image("a", "y", text="theirs")
    there = repository(registry, "a")
    manifest = there.manifest(ours)
    assert manifest
    kind, raw = registry.manifests["a"]["y"]
    registry.faults.append(Fault("GET", "manifests/1", 200, raw, {"Content-Type": kind}))
    with pytest.raises(RegistryRefused, match=theirs):
        set_tag(there, "1", manifest)


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "DIGEST_INVALID"])
def test_a_registry_that_stumbles_over_two_writers_is_asked_again(registry: StandInRegistry, code: str) -> None:
    registry.add_image("a", "y")
    manifest = repository(registry, "a").manifest("y")
    assert manifest
    fault = Fault("PUT", "manifests/1", 400, json.dumps({"errors": [{"code": code}]}).encode(), times=2)
    registry.faults.append(fault)
    set_tag(repository(registry, "a"), "1", manifest)
    assert registry.tags("a")["1"] == manifest.digest
    registry.faults.append(replace(fault, times=100))
    with pytest.raises(RegistryRefused, match=code) as refused:
        set_tag(repository(registry, "a"), "1", manifest)
    assert refused.value.exit_code == 5


def test_a_manifest_that_names_what_is_not_there_is_refused(registry: StandInRegistry) -> None:
    raw = b'{"config":{"digest":"sha256:0","size":1},"layers":[]}'
    with pytest.raises(RegistryRefused, match="MANIFEST_BLOB_UNKNOWN"):
        repository(registry, "a").put_manifest(
            "1", Manifest(raw, "application/vnd.oci.image.manifest.v1+json", sha(raw))
        )
    digest = registry.add_image("c/a", "x")
    index = registry.add_index("c/a", "multi", [digest, "sha256:" + "0" * 64])
    manifest = repository(registry, "c/a").manifest(index)
    assert manifest
    with pytest.raises(RegistryRefused, match="lists sha256:000"):
        promote(repository(registry, "c/a"), repository(registry, "a"), manifest)
    assert registry.tags("a") == {}


def test_authorities_are_those_of_docker_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("x")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert Path(authority("r.example.org")).is_file()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert authority("r.example.org") == str(bundle)


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("https://r.example.org/v2/") == ""
    monkeypatch.setenv("ALL_PROXY", "socks5://all.example.org:1080")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "near.example.org, 10.0.0.0/8,2001:db8::/32")
    assert proxy_for("https://r.example.org/v2/") == "http://proxy.example.org:3128"
    assert proxy_for("http://r.example.org/v2/") == "socks5://all.example.org:1080"
    for near in ("localhost:5000", "127.0.0.1", "near.example.org:5000", "a.near.example.org", "10.1.2.3:5000",
                 "[2001:db8::1]:5000"):  # fmt: skip
        assert proxy_for(f"https://{near}/v2/") == "", near
    assert proxy_for("https://11.1.2.3/v2/") and proxy_for("https://far-near.example.org/v2/")


def test_a_proxy_is_asked_and_told_who_we_are(registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = registry.add_image("a/b", "1")

    def forward(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        assert seen.path == "http://r.example.org/v2/a/b/manifests/1"
        return 200, {"Docker-Content-Digest": digest}, b""

    with serving(Server(forward)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@{proxy.host}")
        there = Transport("r.example.org", Deadline(9), plain_http=True, credentials=lambda _: None)
        assert Repository(there, "a/b").digest("1") == digest
        assert proxy.seen[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


def certificate(folder: Path) -> Path:
    """A self-signed certificate for `localhost` and its key, in one file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "both.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return folder / "both.pem"


def test_tls_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(both)
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    registry = StandInRegistry()
    registry.secure(tls)
    with serving(registry):
        digest = registry.add_image("a/b", "1")

        def there(host: str) -> Repository:
            made = Transport(host, Deadline(9), credentials=lambda _: None)
            made.base, made.scheme = f"https://{host}", "https"
            return Repository(made, "a/b")

        with pytest.raises(Unavailable, match="no trusted TLS connection to localhost") as caught:
            there(registry.host).digest("1")
        assert not caught.value.retryable and "REQUESTS_CA_BUNDLE" in caught.value.hint
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(both))
        assert there(registry.host).digest("1") == digest
        with pytest.raises(Unavailable, match="no trusted TLS connection"):  # a certificate of another name
            there(registry.host.replace("localhost", "127.0.0.1")).digest("1")


def test_one_connection_serves_a_whole_run(registry: StandInRegistry) -> None:
    registry.auth = basic_auth("me", "secret-1")
    registry.add_image("a/b", "1")
    run = Run("test", Deadline(9))
    registries = Registries(run)
    place = parse(f"{registry.host}/a/b")
    registries.repository(place, attempts=1).transport._look_up = lambda _: Credentials("me", "secret-1")
    assert registries.repository(place, attempts=1).digest("1")
    there = registries.repository(place)
    assert there.manifest("1") and there.digest("none") == ""
    there.require_writable()
    pool = there.transport._connections._pools[""].connection_from_url(registry.url)
    assert pool.num_connections == 1 and pool.num_requests == len(registry.seen) > 5


def test_redirects_end(registry: StandInRegistry) -> None:
    registry.faults.append(Fault("GET", "manifests/1", 307, headers={"Location": "/v2/a/b/manifests/1"}))
    with pytest.raises(Unavailable, match="from one address to the next"):
        repository(registry, "a/b").manifest("1")
    for address in ("http://[", "ftp://r.example.org/x"):
        registry.faults[:] = [Fault("GET", "manifests/1", 307, headers={"Location": address})]
        with pytest.raises(RegistryRefused, match="address that is none"):
            repository(registry, "a/b").manifest("1")
