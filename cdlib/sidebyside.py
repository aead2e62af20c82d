"""Calls that wait for something, made side by side by a few threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def side_by_side(call: Callable[[In], Out], inputs: Sequence[In], workers: int) -> list[Out]:
    """What `call` returns for each, in order, so many at a time; where one raises, no more are begun."""
    if len(inputs) < 2:
        return [call(each) for each in inputs]
    with ThreadPoolExecutor(min(workers, len(inputs))) as pool:
        try:
            return list(pool.map(call, inputs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
