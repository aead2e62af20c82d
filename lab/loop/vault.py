"""Passwords as Zuul's configuration holds them: encrypted for one project, and the same text from run to run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab.loop import parts
from lab.loop.places import CONFIG_PROJECT, CONNECTION, Places
from lab.pki import write_private
from lab.plan import read_json

_LIMIT = 60.0  # seconds; ZooKeeper may have started a moment ago
_SCRIPT = Path(__file__).with_name("encrypt.py")


def encrypted(places: Places, values: list[str]) -> list[list[str]]:
    """The pieces of each value; ZooKeeper must run. Raises CdError.

    Encryption is random, so what was encrypted once is kept beside the keys: otherwise each run would change the
    configuration.
    """
    kept = places.keys / "encrypted.json"
    known = read_json(kept)
    names = [hashlib.sha256(value.encode()).hexdigest() for value in values]
    if missing := {name: value for name, value in zip(names, values, strict=True) if name not in known}:
        known |= dict(zip(missing, _encrypt(places, list(missing.values())), strict=True))
        write_private(kept, json.dumps(known, indent=1).encode())
    return [known[name] for name in names]


def _encrypt(places: Places, values: list[str]) -> list[list[str]]:
    python = parts.ZUUL.folder(places.layout) / "bin" / "python"
    # Isolated, or the modules beside the script would hide Zuul's own.
    argv = [str(python), "-I", str(_SCRIPT), str(places.zuul_conf), CONNECTION, CONFIG_PROJECT]
    done = process.run(argv, Deadline(_LIMIT, "encrypting"), stdin=json.dumps(values).encode())
    if not done.ok:
        raise CdError("Zuul's secrets cannot be encrypted", details=done.stderr[-6:])
    return list(json.loads(done.stdout))
