"""What an address and the environment say by themselves, without asking anybody."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse


def is_loopback(host: str) -> bool:
    """Whether `host`, perhaps with a port, is this machine: registries there speak plain http, as Docker has it."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def named_authority() -> str:
    """The file or folder of certificates that a variable names, and that is there; empty for none."""
    variables = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    return next((path for path in variables if path and os.path.exists(path)), "")
