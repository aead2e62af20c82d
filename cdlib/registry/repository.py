"""Repositories of a registry, by the OCI Distribution specification: manifests and blobs, byte for byte."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from cdlib.answers import Answer
from cdlib.errors import CdError, RegistryRefused, Unavailable
from cdlib.reference import DIGEST, Reference
from cdlib.registry.answers import LARGEST
from cdlib.registry.manifest import IMAGE_TYPES, INDEX_TYPES, Blob, Manifest, digest_of, read_manifest
from cdlib.registry.transport import Scopes, Transport
from cdlib.retry import retrying
from cdlib.run import Run

_DAMAGED = "run this again; where it stays so, look at the registry and at proxies before it"
_PAGE = 1000  # tags in one answer
_LARGEST_LIST = 64 * 2**20  # bytes of it where a registry tells all at once: half a million tags
_LINK = re.compile(r'<([^>]+)>\s*;\s*rel="?next\b')
# All four, always: without a fitting Accept a registry says 404, or translates to schema 1.
_ACCEPT = {"Accept": ", ".join((*IMAGE_TYPES, *INDEX_TYPES))}


class Repository:
    """One repository of a registry. `attempts` is how often a request is tried; 0 leaves it to `transport`."""

    def __init__(self, transport: Transport, path: str, attempts: int = 0) -> None:
        self.transport = transport
        self.path = path
        self._send = partial(transport.send, attempts=attempts)
        self._url = f"/v2/{path}"
        self._pull = (f"repository:{path}:pull",)
        self._push = (f"repository:{path}:pull,push",)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.transport.host}/{self.path}"

    def digest(self, reference: str) -> str:
        """The digest of a tag, or of a digest that is there; empty where there is none."""
        doing = f"looking for {self.name}:{reference}"
        answer = self._send(
            "HEAD", self._manifest_url(reference), doing, scopes=self._pull, ok=(200, 404), headers=_ACCEPT
        )
        said = answer.headers.get("Docker-Content-Digest", "")
        if answer.status == 404 or DIGEST.match(said):
            return "" if answer.status == 404 else said
        found = self.manifest(reference)  # a registry need not say it in a header
        return found.digest if found else ""

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest at a tag or a digest, None where there is none."""
        doing = f"reading {self.name}:{reference}"

        def whole(answer: Answer) -> None:
            if answer.status == 200 and DIGEST.match(reference) and digest_of(answer.body) != reference:
                raise Unavailable(f"{self.name} sent other bytes than {reference} names", hint=_DAMAGED)

        url = self._manifest_url(reference)
        answer = self._send("GET", url, doing, scopes=self._pull, ok=(200, 404), headers=_ACCEPT, check=whole)
        return None if answer.status == 404 else read_manifest(answer, f"{self.name}:{reference}")

    def put_manifest(self, reference: str, manifest: Manifest) -> None:
        """Store a manifest, byte for byte, at a tag or at its digest."""
        doing = f"writing {self.name}:{reference}"
        headers = {"Content-Type": manifest.media_type}
        url = self._manifest_url(reference)
        self._send("PUT", url, doing, scopes=self._push, ok=(201,), headers=headers, data=manifest.raw)

    def blob(self, blob: Blob, *, strict: bool = False) -> bytes:
        """A small blob, such as an image's configuration. With `strict`, RegistryRefused where it has more bytes than
        its descriptor says, of which no more are read."""
        doing = f"reading {self.name}@{blob.digest}"
        if blob.size > LARGEST:
            raise RegistryRefused(
                f"{self.name}@{blob.digest} is too large to be an image's configuration",
                hint="is that an image? check the reference",
            )

        def whole(answer: Answer) -> None:
            if digest_of(answer.body) != blob.digest:
                raise Unavailable(f"{self.name} sent other bytes than {blob.digest} names", hint=_DAMAGED)

        url = f"{self._url}/blobs/{blob.digest}"
        largest = max(blob.size, 1) if strict else 0
        return self._send("GET", url, doing, scopes=self._pull, ok=(200,), check=whole, largest=largest).body

    def labels(self, manifest: Manifest) -> dict[str, str]:
        """The labels of an image; of an index, those of its first image; none where they cannot be read."""
        while manifest.is_index:
            child = self.manifest(manifest.children[0]) if manifest.children else None
            if child is None:
                return {}
            manifest = child
        try:
            return dict(json.loads(self.blob(manifest.config))["config"].get("Labels") or {})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def has_blob(self, blob: Blob) -> bool:
        """Whether the blob is here already."""
        doing = f"looking for {self.name}@{blob.digest}"
        url = f"{self._url}/blobs/{blob.digest}"
        return self._send("HEAD", url, doing, scopes=self._pull, ok=(200, 404)).status == 200

    def upload(self, data: bytes) -> Blob:
        """Store a small blob."""
        blob = Blob(digest_of(data), len(data))
        doing = f"writing {blob.digest[:19]} to {self.name}"
        retrying(lambda: self._upload(blob, iter([data]), doing), self.transport.deadline)
        return blob

    def tags(self, prefix: str) -> list[str]:
        """The tags that begin with `prefix`, in order.

        By the specification a registry tells those after `last`, in lexical order, page by page; docker-registry 2.8
        heeds neither, and tells all.
        """
        doing = f"listing tags of {self.name}"
        query = urllib.parse.urlencode({"n": _PAGE, "last": prefix})
        found: list[str] = []
        url = f"{self._url}/tags/list?{query}"
        while url:
            answer = self._send("GET", url, doing, scopes=self._pull, ok=(200, 404), largest=_LARGEST_LIST)
            page = _tags(answer, self.name)
            found += [tag for tag in page if tag.startswith(prefix)]
            past = bool(page) and page[-1] > prefix and not page[-1].startswith(prefix)
            url = "" if past else _next(answer)
        return sorted(set(found))

    def require_writable(self) -> None:
        """Open an upload and close it again: whether we may write here shows before anything else is done."""
        doing = f"asking to write to {self.name}"
        answer = self._send("POST", f"{self._url}/blobs/uploads/", doing, scopes=self._push, ok=(202,))
        self._cancel(answer.headers.get("Location", ""))

    def mount(self, blob: Blob, source: Repository) -> bool:
        """Take a blob over from another repository of this registry, no bytes moved; False where it will not."""
        doing = f"taking {blob.digest[:19]} from {source.name} to {self.name}"
        query = urllib.parse.urlencode({"mount": blob.digest, "from": source.path})
        scopes: Scopes = (*self._push, *source._pull)
        url = f"{self._url}/blobs/uploads/?{query}"
        answer = self._send("POST", url, doing, scopes=scopes, ok=(201, 202))
        if answer.status == 202:  # an upload was opened in its place, and would lie there for days
            self._cancel(answer.headers.get("Location", ""))
        return answer.status == 201

    def copy(self, blob: Blob, source: Repository) -> None:
        """Bring a blob over from any registry, in a stream."""

        def once() -> None:
            with source.transport.stream(f"{source._url}/blobs/{blob.digest}", doing, scopes=source._pull) as pieces:
                self._upload(blob, pieces, doing)

        doing = f"copying {blob.digest[:19]} from {source.name} to {self.name}"
        retrying(once, self.transport.deadline)

    def _upload(self, blob: Blob, pieces: Iterator[bytes], doing: str) -> None:
        # The caller tries the whole of it again.
        opened = self._send("POST", f"{self._url}/blobs/uploads/", doing, scopes=self._push, ok=(202,), attempts=1)
        location = opened.headers.get("Location", "")
        url = f"{location}{'&' if '?' in location else '?'}{urllib.parse.urlencode({'digest': blob.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        body = _whole(pieces, blob)
        try:
            self._send("PUT", url, doing, scopes=self._push, ok=(201,), headers=headers, data=body)
        except BaseException:
            self._cancel(location)
            raise

    def _cancel(self, location: str) -> None:
        """Close an upload that came to nothing; a registry that does not care clears it up by itself."""
        if location:
            with suppress(CdError):
                self._send("DELETE", location, "closing an upload", scopes=self._push, ok=(204,), attempts=1)

    def _manifest_url(self, reference: str) -> str:
        return f"{self._url}/manifests/{urllib.parse.quote(reference, safe=':')}"


class Registries:
    """The registries that one run speaks to, each by one connection pool, and by one token a scope."""

    def __init__(self, run: Run, plain_http: frozenset[str] = frozenset()) -> None:
        self._run = run
        self._plain_http = plain_http
        self._known: dict[str, Transport] = {}

    def repository(self, reference: Reference, *, attempts: int = 0) -> Repository:
        """The repository of `reference`. `attempts` is how often a request is tried; 0 is the usual number."""
        host = reference.host
        if host not in self._known:
            self._known[host] = Transport(
                host, self._run.deadline, plain_http=host in self._plain_http, hide=self._run.redactor.hide
            )
        return Repository(self._known[host], reference.path, attempts)


def _whole(pieces: Iterator[bytes], blob: Blob) -> Iterator[bytes]:
    """The pieces of a blob. Raises Unavailable at their end where they do not make up the whole of it."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
        if size > blob.size:
            break
        yield piece
    if size != blob.size or f"sha256:{hashed.hexdigest()}" != blob.digest:
        raise Unavailable(f"{blob.digest} came damaged: {size} bytes of {blob.size}", hint=_DAMAGED)


def _tags(answer: Answer, name: str) -> list[str]:
    """The tags in an answer; none where the repository is not there yet."""
    if answer.status == 404:
        return []
    try:
        return [str(tag) for tag in json.loads(answer.body)["tags"] or ()]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RegistryRefused(f"{name} answers with no list of tags", hint="is this a registry?") from problem


def _next(answer: Answer) -> str:
    """The address of the next page, empty where this is the last."""
    match = _LINK.search(answer.headers.get("Link", ""))
    return match[1] if match else ""
