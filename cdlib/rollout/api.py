"""The Kubernetes API as plain JSON.

lightkube reads the kubeconfig and sets up TLS and authentication; requests and answers stay the dicts that the
API documents, because verdicts are judged on exactly those (docs/decisions/0003-kubernetes-client.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem
from cdlib.retry import retrying

Object = dict[str, Any]
CALL = 15.0  # seconds for one request; the API server itself gives up after 60
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


# What lightkube lets through where a kubeconfig is not what it should be.
_UNUSABLE = (OSError, LookupError, TypeError, ValueError, AttributeError, AssertionError)


class Conflict(Exception):
    """The object has changed since it was read, or exists already (409)."""


def first_part(pieces: Iterable[bytes], deadline: Deadline, most: int = 256 * 1024) -> str:
    """The first `most` bytes of an answer as text; OutOfTime where they take longer than `deadline`."""
    found = b""
    for piece in pieces:
        found += piece
        if len(found) >= most:
            break
        deadline.require("reading the service's answer")
    return found[:most].decode("utf-8", "replace")


def path(kind: str, namespace: str, name: str = "", *, group: str = "") -> str:
    """The API path of a namespaced collection, or of one object in it."""
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{quote(namespace, safe='')}/{kind}" + (f"/{quote(name, safe='')}" if name else "")


class Api:
    """One cluster. Every call is bounded by CALL and by the deadline it is given."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        from lightkube.config.client_adapter import Client, ConnectionParams
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError
        from yaml import YAMLError

        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        hint = "check the environment's kubeconfig and context in targets.yaml, or KUBECONFIG"
        try:
            # Helm would look in the same order: never at another cluster than we do.
            known = kubeconfig or (os.environ.get("KUBECONFIG") or None)
            usual = Path("~/.kube/config").expanduser()
            file = known or (usual if usual.exists() else None)
            config = KubeConfig.from_file(str(file)) if file else KubeConfig.from_env()
            chosen = config.get(context_name=context)
            if chosen is None:
                raise UsageProblem(f"the kubeconfig {where} has no context {context or 'that is current'}", hint=hint)
            self.server = str(chosen.cluster.server)
            self._client = Client(chosen, ConnectionParams(trust_env=False))
        except (
            ConfigError,
            YAMLError,
            OSError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            AssertionError,
        ) as problem:
            said = str(problem).splitlines() or [type(problem).__name__]
            raise UsageProblem(f"the kubeconfig {where} cannot be used: {said[0]}", hint=hint) from problem

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, where: str, deadline: Deadline, *, accept: str = "", **params: str) -> Object | None:
        """The object or list at `where`; None where there is none."""
        return self._json("GET", where, deadline, params=params, accept=accept)

    def create(self, where: str, body: Object, deadline: Deadline) -> Object:
        """Create `body` in the collection `where`. Raises Conflict where it exists, UsageProblem where 404."""
        return self._written(where, self._json("POST", where, deadline, body=body))

    def replace(self, where: str, body: Object, deadline: Deadline) -> Object:
        """Put `body`, whose resourceVersion must still be current, else Conflict."""
        return self._written(where, self._json("PUT", where, deadline, body=body))

    def delete(self, where: str, deadline: Deadline) -> None:
        """Delete the object at `where`, if it is there."""
        self._json("DELETE", where, deadline)

    def text(self, where: str, deadline: Deadline, **params: str) -> str | None:
        """A text answer, such as a container's log; None where it is refused or missing (400, 404)."""
        answer = self._send("GET", where, deadline, params=params, allowed=(200, 400, 404))
        return answer.text if answer.status_code == 200 else None

    def fetch(self, where: str, deadline: Deadline) -> tuple[int, str]:
        """Status and the first 256 KiB of one GET, for requests through the API to a service. Never retried.

        The service may be hostile: an answer without end is cut, and one that drips ends with the deadline.
        """
        import httpx2

        limit = min(CALL, deadline.require("asking the service"))
        try:
            with self._client.stream("GET", where, timeout=limit, headers={"Accept-Encoding": "identity"}) as answer:
                return answer.status_code, first_part(answer.iter_raw(8192), deadline.part(limit, "one answer"))
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            raise Unavailable(f"no answer: {problem or type(problem).__name__}") from problem

    def _written(self, where: str, answer: Object | None) -> Object:
        if answer is None:
            raise UsageProblem(f"{self.server} has no {where}", hint="create the namespace, or mend targets.yaml")
        return answer

    def _json(self, method: str, where: str, deadline: Deadline, *, body: Object | None = None,
              params: dict[str, str] | None = None, accept: str = "") -> Object | None:  # fmt: skip
        answer = self._send(method, where, deadline, body=body, params=params or {}, accept=accept)
        if answer.status_code == 404:
            return None
        try:
            found: Object = answer.json()
        except ValueError as problem:
            raise Unavailable(
                f"{self.server} answers {method} {where} with no JSON", hint="see what is in between"
            ) from problem
        return found

    def _send(self, method: str, where: str, deadline: Deadline, *, params: dict[str, str], body: Object | None = None,
              accept: str = "", allowed: tuple[int, ...] = (200, 201, 202, 404)) -> Any:  # fmt: skip
        def attempt() -> Any:
            answer = self._once(method, where, deadline, params, body, accept or "application/json")
            if answer.status_code not in allowed:
                raise self._problem(method, where, answer)
            return answer

        return retrying(attempt, deadline)

    def _once(self, method: str, where: str, deadline: Deadline, params: dict[str, str],
              body: Object | None, accept: str) -> Any:  # fmt: skip
        import httpx2

        limit = min(CALL, deadline.require("asking the Kubernetes API"))
        try:
            return self._client.request(
                method, where, params=params, json=body, timeout=limit, headers={"Accept": accept}
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            raise Unavailable(
                f"the Kubernetes API at {self.server} cannot be reached: {problem or type(problem).__name__}",
                hint="see that the cluster runs, and that this machine reaches it",
            ) from problem

    def _problem(self, method: str, where: str, answer: Any) -> Exception:
        """The error for an answer that is none of those expected."""
        try:
            said = str(answer.json().get("message", ""))
        except ValueError:
            said = answer.text[:200]
        status, what = answer.status_code, f"{method} {where} on {self.server}"
        if status == 409:
            return Conflict(said)
        if status in (401, 403):
            return NotAllowed(f"the Kubernetes API does not allow it: {said or what}",
                              hint="give the deploy credentials that right, or use others")  # fmt: skip
        if status == 429 or status >= 500:
            asked = answer.headers.get("Retry-After", "")
            return Unavailable(f"the Kubernetes API answers {status} to {what}: {said}",
                               hint="try again, or look at the API server",
                               retry_after=float(asked) if asked.isdigit() else 0.0)  # fmt: skip
        return CdError(f"the Kubernetes API answers {status} to {what}: {said}")
