"""Where a command leaves its events and its result, so that they take the place of no run that matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The folder for what a run leaves. With `spare` it goes on without, where that folder cannot be written."""

    out: Path
    spare: bool = False


# Of the results' folder, whether --out names it, and the command's own options, which it may fill in.
Placing = Callable[[Path, bool, Options], Place]


def below(results: Path, name: str) -> Path:
    """A folder in the results' folder; where that is a link, the link itself, so that it is refused."""
    try:
        return results if results.is_symlink() else results / name
    except OSError:  # it cannot be looked at, and so not written either
        return results / name


def aside(name: str, *, looks: Callable[[Options], bool], always: bool = True) -> Placing:
    """For a command that only looks, or is no step of a run: a folder of its own, `name`, below the results'.

    `looks` tells by the options whether it only looks: then the folder is spared. Where it need not be `always`, the
    folder is its own just then.
    """

    def placed(results: Path, _given: bool, options: Options) -> Place:
        looking = looks(options)
        return Place(below(results, name) if always or looking else results, looking)

    return placed
