"""Small servers that answer as real ones were measured to answer, where a real one cannot be had or made to fail."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from planted import see

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Fault:
    """What a server answers, `times` times, to requests that match, in place of its usual answer.

    `cut` announces more bytes than come; `drop` closes the connection without an answer.
    """

    method: str
    path: str
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1_000_000
    cut: bool = False
    drop: bool = False


@dataclass
class Seen:
    """One request, as a server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """An HTTP server on a port of its own; `answer` makes status, headers and body of a request.

    A body may be an iterator: it goes out in chunks, after the headers, as it comes.
    """

    def __init__(self, answer: Callable[[Seen], tuple[int, dict[str, str], bytes | Iterator[bytes]]]) -> None:
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self._answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

            def handle_one(self) -> None:
                outer.handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def secure(self, tls: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def requests(self, method: str, pattern: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and re.search(pattern, seen.path)]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        seen = Seen(handler.command, handler.path, dict(handler.headers), _body(handler))
        self.seen.append(seen)
        see(f"a request, {seen.method} {seen.path[:60]},", seen.path.encode() + b"\n" + seen.body)
        fault = next(
            (f for f in self.faults if f.times and f.method == seen.method and re.search(f.path, seen.path)), None
        )
        if fault:
            fault.times -= 1
            if fault.drop:
                handler.close_connection = True
                return
            status, headers = fault.status, fault.headers
            body: bytes | Iterator[bytes] = fault.body
        else:
            status, headers, body = self._answer(seen)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if not isinstance(body, bytes):
            _send_chunks(handler, body)
            return
        missing = 100 if fault and fault.cut else 0
        if "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(body) + missing))
        handler.end_headers()
        if seen.method != "HEAD":
            handler.wfile.write(body)
        handler.close_connection = handler.close_connection or bool(missing)


def _send_chunks(handler: BaseHTTPRequestHandler, pieces: Iterator[bytes]) -> None:
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.flush()
    with suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") == "chunked":
        whole = b""
        while size := int(handler.rfile.readline(), 16):
            whole += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return whole
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


@contextmanager
def silent() -> Iterator[str]:
    """Host and port of a server that takes connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


class StandInRegistry(Server):
    """docker-registry 2.8.2 as far as it was measured: Accept decides, one-shot uploads do not exist, mounts do."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads = 0
        self.open_uploads: set[str] = set()
        self.mounts = True
        self.auth: Callable[[Seen], tuple[int, dict[str, str], bytes] | None] = lambda _: None

    def add_image(self, repository: str, tag: str, *, labels: dict[str, str] | None = None, text: str = "x") -> str:
        config = json.dumps({"config": {"Labels": labels or {}}, "text": text}).encode()
        layer = f"layer of {text}".encode()
        for blob in (config, layer):
            self.blobs.setdefault(repository, {})[sha(blob)] = blob
        described = [{"mediaType": "x", "digest": sha(b), "size": len(b)} for b in (config, layer)]
        raw = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI, "config": described[0], "layers": [described[1]]}
        ).encode()
        return self.put(repository, tag, OCI, raw)

    def add_index(self, repository: str, tag: str, children: list[str]) -> str:
        listed = [{"mediaType": OCI, "digest": d, "size": 1} for d in children]
        return self.put(
            repository, tag, INDEX, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        )

    def put(self, repository: str, tag: str, kind: str, raw: bytes) -> str:
        for reference in (tag, sha(raw)):
            self.manifests.setdefault(repository, {})[reference] = (kind, raw)
        return sha(raw)

    def tags(self, repository: str) -> dict[str, str]:
        return {tag: sha(raw) for tag, (_, raw) in self.manifests.get(repository, {}).items() if ":" not in tag}

    def _serve(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        refused = self.auth(seen)
        if refused:
            return refused
        url = urllib.parse.urlsplit(seen.path)
        listed = re.fullmatch(r"/v2/(.+)/tags/list", url.path)
        if listed:  # all of them, whatever n and last say
            here = listed[1] in self.manifests
            return (200 if here else 404), {}, json.dumps({"name": listed[1], "tags": [*self.tags(listed[1])]}).encode()
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.*)", url.path)
        if url.path == "/v2/" or match is None:
            return (200, {}, b"{}") if url.path == "/v2/" else (404, {}, b"")
        repository, kind, reference = match.groups()
        query = dict(urllib.parse.parse_qsl(url.query))
        if kind == "manifests":
            return self._manifest(seen, repository, urllib.parse.unquote(reference))
        if reference.startswith("uploads/"):
            return self._upload(seen, repository, query)
        blob = self.blobs.get(repository, {}).get(reference)
        return (200, {"Docker-Content-Digest": reference}, blob) if blob is not None else (404, {}, b"")

    def _manifest(self, seen: Seen, repository: str, reference: str) -> tuple[int, dict[str, str], bytes]:
        if seen.method == "PUT":
            document = json.loads(seen.body)
            named = [b["digest"] for b in (document.get("config"), *document.get("layers", ())) if b]
            named_here = [*self.blobs.get(repository, {}), *self.manifests.get(repository, {})]
            children = [m["digest"] for m in document.get("manifests", ())]
            if any(digest not in named_here for digest in (*named, *children)):
                return (
                    400,
                    {},
                    json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}).encode(),
                )
            self.put(repository, reference, seen.headers["Content-Type"], seen.body)
            return 201, {"Docker-Content-Digest": sha(seen.body)}, b""
        kind, raw = self.manifests.get(repository, {}).get(reference, ("", b""))
        if not raw or kind not in seen.headers.get("Accept", ""):
            return (
                404,
                {},
                json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode(),
            )
        return 200, {"Content-Type": kind, "Docker-Content-Digest": sha(raw)}, raw

    def _upload(self, seen: Seen, repository: str, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        here = self.blobs.setdefault(repository, {})
        if seen.method == "POST":
            wanted = self.blobs.get(query.get("from", ""), {}).get(query.get("mount", ""))
            if wanted is not None and self.mounts:
                here[query["mount"]] = wanted
                return 201, {"Docker-Content-Digest": query["mount"]}, b""
            self.uploads += 1
            self.open_uploads.add(str(self.uploads))
            return 202, {"Location": f"{self.url}/v2/{repository}/blobs/uploads/{self.uploads}?_state=a%3D"}, b""
        number = urllib.parse.urlsplit(seen.path).path.rpartition("/")[2]
        self.open_uploads.discard(number)
        if seen.method == "DELETE":
            return 204, {}, b""
        if sha(seen.body) != query.get("digest"):
            return 400, {}, json.dumps({"errors": [{"code": "DIGEST_INVALID", "message": "digest invalid"}]}).encode()
        here[sha(seen.body)] = seen.body
        return 201, {}, b""


def basic_auth(username: str, password: str) -> Callable[[Seen], tuple[int, dict[str, str], bytes] | None]:
    """What docker-registry with htpasswd does."""
    wanted = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def check(seen: Seen) -> tuple[int, dict[str, str], bytes] | None:
        if seen.headers.get("Authorization") == wanted:
            return None
        return 401, {"WWW-Authenticate": 'Basic realm="basic-realm"'}, _denied("UNAUTHORIZED")

    return check


def bearer_auth(realm: str, token: str) -> Callable[[Seen], tuple[int, dict[str, str], bytes] | None]:
    """What a registry with a token server does."""

    def check(seen: Seen) -> tuple[int, dict[str, str], bytes] | None:
        if seen.headers.get("Authorization") == f"Bearer {token}":
            return None
        challenge = f'Bearer realm="{realm}",service="registry.test",scope="repository:a/b:pull"'
        return 401, {"WWW-Authenticate": challenge}, _denied("UNAUTHORIZED")

    return check


def _denied(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": "authentication required"}]}).encode()


def blubberoid(seen: Seen) -> tuple[int, dict[str, str], bytes]:
    """Blubberoid v0.23.0, as it was measured."""
    if re.fullmatch(r"/v1/[^/]+", seen.path) is None:
        return 404, {}, b"404 page not found\n"
    if seen.method != "POST":
        return 400, {}, b"bad request\n"
    kind = seen.headers.get("Content-Type", "application/json")
    if kind not in ("application/json", "application/yaml", "application/x-yaml"):
        return 415, {}, f"'{kind}' media type is not supported\n".encode()
    import yaml

    try:
        document = yaml.safe_load(seen.body)
        variants = document.get("variants") or {}
    except (yaml.YAMLError, AttributeError):
        return 400, {}, b"Failed to read config YAML from request body. Was it formatted correctly?\n"
    variant = seen.path.rpartition("/")[2]
    if document.get("version") != "v4":
        return 422, {}, b'config version "v3" is unsupported\n'
    if variant not in variants:
        return 422, {}, f"variant '{variant}' does not exist\n".encode()
    base = variants[variant].get("base", document.get("base"))
    made = f'FROM {base} AS {variant}\nUSER "root"\nCOPY . /srv/app\nUSER "900"\nLABEL blubber.variant="{variant}"\n'
    return 200, {"Content-Type": "text/plain"}, made.encode()


@contextmanager
def serving(server: Server) -> Iterator[Any]:
    try:
        yield server
    finally:
        server.close()
