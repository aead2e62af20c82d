"""The Kubernetes API as plain JSON: objects stay the dicts that it documents, because verdicts are judged on those."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cdlib.answers import Answer, ahead, retry_after
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem
from cdlib.retry import retrying
from cdlib.rollout.connection import CALL, Connection, first_part
from cdlib.rollout.kubeconfig import read_cluster

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

Object = dict[str, Any]
APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON = "application/json"


class Conflict(Exception):
    """The object has changed since it was read, or exists already (409)."""


def path(kind: str, namespace: str, name: str = "", *, group: str = "") -> str:
    """The API path of a namespaced collection, or of one object in it."""
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{quote(namespace, safe='')}/{kind}" + (f"/{quote(name, safe='')}" if name else "")


class Api:
    """One cluster. Every call is bounded by CALL and by the deadline it is given."""

    def __init__(
        self, kubeconfig: Path | None, context: str | None, hide: Callable[[Iterable[str]], None] = lambda _: None
    ) -> None:
        """Read the kubeconfig; `hide` is told of every secret before it travels. Raises UsageProblem."""
        cluster = read_cluster(kubeconfig, context)
        self.server = cluster.server
        self._connection = Connection(cluster, hide)
        self._ahead: timedelta | None = None

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def now(self) -> datetime:
        """The time by the server's clock, as its first answer told it; by ours before that, or where it tells none.

        What is compared with times that the server has written needs this: an agent's clock may be minutes off.
        """
        return datetime.now(UTC) + (self._ahead or timedelta())

    def version(self, deadline: Deadline) -> str:
        """The server's version, such as v1.34.4; empty where it does not say."""
        try:
            return str((self.get("/version", deadline) or {}).get("gitVersion", ""))
        except NotAllowed:
            return ""

    def get(self, where: str, deadline: Deadline, *, accept: str = "", **params: str) -> Object | None:
        """The object or list at `where`; None where there is none."""
        return self._json("GET", where, deadline, params=params, accept=accept)

    def create(self, where: str, body: Object, deadline: Deadline) -> Object:
        """Create `body` in the collection `where`. Raises Conflict where it exists, UsageProblem where 404."""
        return self._written(where, self._json("POST", where, deadline, body=body))

    def replace(self, where: str, body: Object, deadline: Deadline) -> Object:
        """Put `body`, whose resourceVersion must still be current, else Conflict."""
        return self._written(where, self._json("PUT", where, deadline, body=body))

    def patch(self, where: str, body: Any, deadline: Deadline, kind: str, **params: str) -> Object:
        """Change the object at `where` by a patch of media type `kind`. Raises Conflict, UsageProblem where 404."""
        return self._written(where, self._json("PATCH", where, deadline, body=body, params=params, kind=kind))

    def delete(self, where: str, deadline: Deadline, **options: Any) -> None:
        """Delete the object at `where`, if it is there. `options` are DeleteOptions; Conflict where they fail."""
        self._json("DELETE", where, deadline, body={"apiVersion": "v1", "kind": "DeleteOptions", **options})

    def text(self, where: str, deadline: Deadline, **params: str) -> str | None:
        """A text answer, such as a container's log; None where it is refused or missing (400, 404)."""
        answer = self._send("GET", where, deadline, params=params, allowed=(200, 400, 404))
        return answer.body.decode("utf-8", "replace") if answer.status == 200 else None

    def fetch(self, where: str, deadline: Deadline) -> tuple[int, str]:
        """Status and the first 256 KiB of one GET, for requests through the API to a service. Never retried.

        The service may be hostile: an answer without end is cut, and one that drips ends with the deadline.
        """
        share = deadline.part(CALL, "one answer")
        headers = {"Accept-Encoding": "identity"}
        with self._connection.opened("GET", where, share, params={}, headers=headers) as response:
            body = first_part(self._connection.pieces(response, share), share)
            response.close()
            return response.status, body

    @contextmanager
    def stream(self, where: str, deadline: Deadline, silence: float,
               **params: str) -> Iterator[tuple[BaseHTTPResponse, Iterator[bytes]]]:  # fmt: skip
        """An answer that goes on and on, such as a watch, with its pieces as they come. Never retried.

        `silence` is the longest wait between two pieces, in seconds. Raises as `get` does.
        """
        headers = {"Accept": _JSON}
        with self._connection.opened(
            "GET", where, deadline, params=params, headers=headers, silence=silence
        ) as response:
            pieces = self._connection.pieces(response, deadline)
            if response.status != 200:
                raise self._problem("GET", where, Answer(response.status, response.headers, b"".join(pieces)))
            yield response, pieces
            response.close()

    def _written(self, where: str, answer: Object | None) -> Object:
        if answer is None:
            raise UsageProblem(f"{self.server} has no {where}", hint="create the namespace, or mend targets.yaml")
        return answer

    def _json(self, method: str, where: str, deadline: Deadline, *, body: Any = None,
              params: dict[str, str] | None = None, accept: str = "", kind: str = _JSON) -> Object | None:  # fmt: skip
        answer = self._send(method, where, deadline, body=body, params=params or {}, accept=accept, kind=kind)
        if answer.status == 404:
            return None
        try:
            found: Object = json.loads(answer.body)
        except (ValueError, RecursionError) as problem:
            raise Unavailable(
                f"{self.server} answers {method} {where} with no JSON", hint="see what is in between"
            ) from problem
        return found

    def _send(self, method: str, where: str, deadline: Deadline, *, params: Mapping[str, str],
              body: Any = None, accept: str = "", kind: str = _JSON,
              allowed: tuple[int, ...] = (200, 201, 202, 404)) -> Answer:  # fmt: skip
        headers = {"Accept": accept or _JSON, **({"Content-Type": kind} if body is not None else {})}
        data = None if body is None else json.dumps(body).encode()

        def attempt() -> Answer:
            answer = self._connection.exchange(method, where, deadline, params=params, headers=headers, body=data)
            if answer.status not in allowed:
                raise self._problem(method, where, answer)
            if self._ahead is None:
                self._ahead = ahead(answer.headers)
            return answer

        return retrying(attempt, deadline)

    def _problem(self, method: str, where: str, answer: Answer) -> Exception:
        """The error for an answer that is none of those expected."""
        try:
            said = str(json.loads(answer.body)["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            said = answer.body[:200].decode("utf-8", "replace")
        status, what = answer.status, f"{method} {where} on {self.server}"
        if status == 409:
            return Conflict(said)
        if status in (401, 403):
            return NotAllowed(f"the Kubernetes API does not allow it: {said or what}",
                              hint="give the deploy credentials that right, or use others")  # fmt: skip
        if status == 429 or status >= 500:
            return Unavailable(f"the Kubernetes API answers {status} to {what}: {said}",
                               hint="try again, or look at the API server",
                               retry_after=retry_after(answer.headers))  # fmt: skip
        return CdError(
            f"the Kubernetes API answers {status} to {what}: {said}",
            hint="please report it with events.jsonl; is that a Kubernetes API server?",
        )
