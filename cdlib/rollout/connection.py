"""HTTP to one API server: connections, credentials and limits, and nothing that the answers mean."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdlib.answers import Answer
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from cdlib.network import is_loopback
from cdlib.rollout.kubeconfig import Cluster

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CALL = 15.0  # seconds for one request; the API server itself gives up after 60
_CHUNK = 64 * 1024
_CONNECTIONS = 8  # a rollout's watches, its lease and its checks, all at once


class Connection:
    """The connections to one cluster, shared by threads. Every exchange is bounded by CALL and by its deadline."""

    def __init__(self, cluster: Cluster, hide: Callable[[Iterable[str]], None] = lambda _: None) -> None:
        import urllib3

        self.server = cluster.server
        self._credentials = cluster.credentials
        self._credentials.hide = hide
        # A kubeconfig that says so has been warned about by whoever wrote it; a line for each request hides the rest.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        tls: dict[str, Any] = {"ssl_context": cluster.tls} if cluster.tls else {}
        if cluster.tls and cluster.tls_name:
            tls = {**tls, "server_hostname": cluster.tls_name, "assert_hostname": cluster.tls_name}
        proxy = cluster.proxy or _environments_proxy(cluster.server)
        pools = urllib3.ProxyManager(proxy, maxsize=_CONNECTIONS, **tls) if proxy else None
        self._pools = pools or urllib3.PoolManager(maxsize=_CONNECTIONS, **tls)

    def close(self) -> None:
        """Close the connections."""
        self._pools.clear()

    def exchange(self, method: str, where: str, deadline: Deadline, *, params: Mapping[str, str],
                 headers: Mapping[str, str], body: bytes | None = None) -> Answer:  # fmt: skip
        """One request and the whole of its answer. Raises Unavailable where none comes, OutOfTime."""
        share = deadline.part(CALL, "one request to the Kubernetes API")
        with self.opened(method, where, deadline, params=params, headers=headers, body=body) as response:
            return Answer(response.status, response.headers, b"".join(self.pieces(response, share)))

    @contextmanager
    def opened(self, method: str, where: str, deadline: Deadline, *, params: Mapping[str, str],
               headers: Mapping[str, str], body: bytes | None = None,
               silence: float = CALL) -> Iterator[BaseHTTPResponse]:  # fmt: skip
        """An answer whose body has not been read. `silence` is the longest wait for its next byte, in seconds.

        An answer of 401 to a credential that may be renewed is asked for once more. What is left unread costs
        the connection.
        """
        response = self._request(method, where, deadline, params, headers, body, silence)
        if response.status == 401 and self._credentials.renew():
            response.close()
            response = self._request(method, where, deadline, params, headers, body, silence)
        try:
            yield response
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()

    def pieces(self, response: BaseHTTPResponse, deadline: Deadline) -> Iterator[bytes]:
        """The answer's body as it comes. Raises Unavailable where it breaks off, OutOfTime where it drips."""
        import urllib3

        try:
            for piece in response.stream(_CHUNK, decode_content=True):
                yield piece
                deadline.require("reading an answer of the Kubernetes API")
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._away(problem) from problem

    def _request(self, method: str, where: str, deadline: Deadline, params: Mapping[str, str],
                 headers: Mapping[str, str], body: bytes | None, silence: float) -> BaseHTTPResponse:  # fmt: skip
        import urllib3

        limit = min(CALL, deadline.require("asking the Kubernetes API"))
        url = self.server + where + (f"?{urllib.parse.urlencode(params)}" if params else "")
        said = {"User-Agent": "cdlib", **headers, **self._credentials.headers(deadline)}
        read = min(silence, deadline.require("asking the Kubernetes API"))
        # The total bounds what a server that accepts connections, and then is silent, could take twice.
        timeout = urllib3.Timeout(total=max(limit, read), connect=limit, read=read)
        try:
            return self._pools.request(
                method,
                url,
                body=body,
                headers=said,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._away(problem) from problem

    def _away(self, problem: Exception) -> Unavailable:
        return Unavailable(
            f"the Kubernetes API at {self.server} cannot be reached: {problem or type(problem).__name__}",
            hint="see that the cluster runs, and that this machine reaches it",
        )


def first_part(pieces: Iterable[bytes], deadline: Deadline, most: int = 256 * 1024) -> str:
    """The first `most` bytes of an answer as text; OutOfTime where they take longer than `deadline`."""
    found = b""
    for piece in pieces:
        found += piece
        if len(found) >= most:
            break
        deadline.require("reading the service's answer")
    return found[:most].decode("utf-8", "replace")


def _environments_proxy(server: str) -> str:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY ask for, as Helm follows them; empty for none."""
    parts = urllib.parse.urlsplit(server)
    known = urllib.request.getproxies()
    if is_loopback(parts.netloc) or urllib.request.proxy_bypass(parts.netloc):
        return ""
    return known.get(parts.scheme, "")
