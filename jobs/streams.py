"""The standard streams, which may be closed, full, or read by nobody: none of that changes how a run ends."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

import click


def open_streams() -> None:
    """Make the standard streams safe to use: a name that the locale cannot write is no reason to fail.

    The next file that is opened would get the number of one that is closed, and what a program says to its stderr
    would end in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def confirmed(question: str) -> bool:
    """Whether a person says yes; where there is none to ask, nobody does."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False


def written(text: str) -> str:
    """Write a line to stdout; why it could not be written, or nothing."""
    if sys.stdout is None:
        return "it is closed"
    try:
        print(text, flush=True)
    except OSError as problem:
        return problem.strerror or type(problem).__name__
    return ""
