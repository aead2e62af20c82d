"""What runs that were killed have left in the folder for temporary files: whole trees of services."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import suppress

OLD = 24 * 3600.0  # seconds; no run lasts so long
_OURS = re.compile(r"cd-(?:source|index|recipe|fetch|git)-[a-z0-9_]+\Z")  # as tempfile ends our prefixes


def sweep_leftovers() -> None:
    """Remove folders of ours that are older than a day. Others' are left alone, and links are not followed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if _OURS.match(entry.name) and _is_old(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_old(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # somebody else has swept it
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mtime < time.time() - OLD
