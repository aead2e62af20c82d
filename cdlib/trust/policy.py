"""The digest of all that targets.yaml asks of one service in one environment."""

from __future__ import annotations

import hashlib

from cdlib.target import Target
from cdlib.trust.encoding import write_json
from cdlib.trust.keys import Keyring


def policy_digest(target: Target, environment: str, ring: Keyring) -> str:
    """`sha256:…` over what the operators say of `target` in `environment`, the keys by what is in their files.

    Other services and environments are left out: what changes there ends no permit here.
    """
    keys = {purpose: sorted(key.id for key in keys) for purpose, keys in ring.items()}
    said = {**target.policy(environment), "keys": keys}
    return "sha256:" + hashlib.sha256(write_json(said)).hexdigest()
