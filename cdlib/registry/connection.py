"""HTTP connections to registries and what they name: limits, proxies and authorities, and nothing that answers mean.

By urllib3, on which requests is built: what requests adds is either done on purpose here, or must not be done at
all, as reading ~/.netrc; and its import takes 25 ms.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import urllib.parse
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cdlib.deadline import Deadline
from cdlib.network import is_loopback, named_authority

if TYPE_CHECKING:
    import urllib3

CONNECT = 5.0  # seconds
READ = 30.0  # seconds without a byte
Body = bytes | Iterable[bytes] | None


class Connections:
    """Connections to any hosts, each kept for the next request.

    `authority` is a file or folder of certificates; `direct` leaves out the environment's proxies.
    """

    def __init__(self, authority: str, *, direct: bool = False) -> None:
        self._authority = authority
        self._direct = direct
        self._pools: dict[str, urllib3.PoolManager] = {}

    def open(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, deadline: Deadline, doing: str
    ) -> urllib3.BaseHTTPResponse:
        """The answer to one request, its body still to be read. Follows nobody, and tries nothing twice.

        Raises what urllib3 does, and OutOfTime.
        """
        import urllib3

        left = deadline.require(doing)
        return self._pool("" if self._direct else proxy_for(url)).request(
            method,
            url,
            body=body,
            headers=dict(headers),
            timeout=urllib3.Timeout(connect=min(CONNECT, left), read=min(READ, left)),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def close(self) -> None:
        """Close them all."""
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, proxy: str) -> urllib3.PoolManager:
        if proxy not in self._pools:
            self._pools[proxy] = self._made(proxy)
        return self._pools[proxy]

    def _made(self, proxy: str) -> urllib3.PoolManager:
        import urllib3

        kind = "ca_cert_dir" if os.path.isdir(self._authority) else "ca_certs"
        tls: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED", kind: self._authority}
        if not proxy:
            return urllib3.PoolManager(**tls)
        who = urllib3.util.parse_url(proxy).auth
        said = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(who)) if who else None
        return urllib3.ProxyManager(proxy, proxy_headers=said, **tls)


def discard(response: urllib3.BaseHTTPResponse) -> None:
    """Have done with an answer. A short one is read to its end, so that its connection serves the next request."""
    import urllib3

    with suppress(urllib3.exceptions.HTTPError, OSError):
        response.read(64 * 1024)
    response.close()


def authority(host: str = "") -> str:
    """Whom to believe in TLS: a variable's file, the one Docker keeps for `host`, the system's, certifi's."""
    dockers = f"/etc/docker/certs.d/{host}/ca.crt" if host else ""
    for path in (named_authority(), dockers, ssl.get_default_verify_paths().cafile):
        if path and os.path.exists(path):
            return path
    import certifi

    return certifi.where()


def proxy_for(url: str) -> str:
    """The proxy that the environment names for `url`, empty for none; this machine's own servers need none."""
    parts = urllib.parse.urlsplit(url)
    if is_loopback(parts.netloc):
        return ""
    from urllib.request import getproxies, proxy_bypass

    known = getproxies()
    if proxy_bypass(parts.netloc) or _in_networks(parts.hostname or "", known.get("no", "")):
        return ""
    proxy = known.get(parts.scheme) or known.get("all", "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _in_networks(host: str, networks: str) -> bool:
    """Whether `host` is an address in one of a comma-separated list's networks, which urllib does not look at."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in networks.split(","):
        with suppress(ValueError):
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False
