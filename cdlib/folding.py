"""Folds in the logs of those CIs that have them: a program's output, under the name of its stage."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

_CLEAR = "\x1b[0K"
_numbers = count(1)


@dataclass(frozen=True)
class Fold:
    """What begins a fold and what ends it, each a line of its own."""

    begin: str
    end: str


def fold(title: str, environ: Mapping[str, str] = os.environ) -> Fold | None:
    """A fold called `title`, which is one line without control characters; None where the CI has none, as Jenkins.

    GitHub's, which Gitea and Forgejo have too: docs.github.com, workflow commands, group. GitLab's: docs.gitlab.com,
    job logs, custom collapsible sections.
    """
    if environ.get("GITHUB_ACTIONS") == "true":
        return Fold(f"::group::{title}", "::endgroup::")
    if environ.get("GITLAB_CI") == "true":
        name, now = f"cd_{os.getpid()}_{next(_numbers)}", int(time.time())
        begin = f"{_CLEAR}section_start:{now}:{name}[collapsed=true]\r{_CLEAR}{title}"
        return Fold(begin, f"{_CLEAR}section_end:{now}:{name}\r{_CLEAR}")
    return None
