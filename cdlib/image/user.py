"""As whom the tests run: the image's own user, whose number is known and is not 0, or else nobody."""

from __future__ import annotations

NOBODY = "65534:65534"
LARGEST = 2**31 - 1  # of a uid, as the Engine takes it


def is_named(user: str) -> bool:
    """Whether an image's `user` is a name, which its /etc/passwd may give any number."""
    name = user.split(":")[0]
    return not _uid(name) and name not in ("", "root") and not name.lstrip("+-").isdigit()


def runs_as(user: str, passwd: str = "") -> str:
    """What an image's `user` means to the Engine, as a number, or nobody where that is root or not known.

    `passwd` is the image's /etc/passwd, for a name. A number is plain and decimal: the Engine takes +0 for 0.
    """
    name, colon, group = user.partition(":")
    uid = _uid(name) or (_uid_in(passwd, name) if is_named(user) else 0)
    return f"{uid}{colon}{group}" if uid else NOBODY


def _uid(text: str) -> int:
    """A uid that is not root's, 0 for anything else."""
    plain = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST))
    return int(text) if plain and int(text) <= LARGEST else 0


def _uid_in(passwd: str, name: str) -> int:
    """The uid of the first line of /etc/passwd for `name`, which is the one that the Engine takes; else 0."""
    lines = (line.strip().split(":") for line in passwd.split("\n"))
    found = next((fields for fields in lines if fields[0] == name), ["", "", ""])
    return _uid(found[2]) if len(found) > 2 else 0
