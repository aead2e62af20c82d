"""Git objects written without git: their names, and packs of them. git itself checks both as it reads a pack."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Collection

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_MORE = 0x80  # in a byte of a size that another byte follows


def object_id(kind: str, raw: bytes) -> str:
    """The name of an object: `kind` is commit, tree or blob."""
    return hashlib.sha1(f"{kind} {len(raw)}\0".encode() + raw).hexdigest()


def pack(objects: Collection[tuple[str, bytes]]) -> bytes:
    """These objects, each its kind and its content, as a pack without deltas (gitformat-pack)."""
    parts = [b"PACK" + struct.pack(">II", 2, len(objects))]
    for kind, raw in objects:
        size, head = len(raw) >> 4, [_KINDS[kind] << 4 | len(raw) & 15]
        while size:
            head[-1] |= _MORE
            head.append(size & 127)
            size >>= 7
        parts += [bytes(head), zlib.compress(raw, 1)]
    whole = b"".join(parts)
    return whole + hashlib.sha1(whole).digest()
