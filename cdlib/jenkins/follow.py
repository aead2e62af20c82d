"""A build's log as it grows, and the build's end."""

from __future__ import annotations

import codecs
import tempfile
import time
from collections.abc import Callable
from typing import IO

from cdlib.deadline import Deadline
from cdlib.errors import BuildLost
from cdlib.jenkins.builds import Build, read_build
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import Job

FIRST_WAIT, LONGEST_WAIT = 0.1, 0.5  # seconds between two looks at the log
LARGEST = 2**30  # bytes of one answer; what does not fit in memory goes through a file
_LONGEST_LINE = 16 * 1024


class Log:
    """The log of one build: each line once. Its offset is Jenkins' own, since bodies are longer than what they show."""

    def __init__(self, server: Server, job: Job, number: int, on_line: Callable[[str], None]) -> None:
        self._server = server
        self._path = f"{job.path}/{number}/logText/progressiveText"
        self._doing = f"following the log of {job.name} #{number}"
        self._on_line = on_line
        self._offset = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial = ""

    def advance(self, deadline: Deadline) -> bool | None:
        """Hand on what is new. Whether there may be more; None where Jenkins has no such build."""
        with tempfile.SpooledTemporaryFile(max_size=8 * 2**20) as body:
            path = f"{self._path}?start={self._offset}"
            answer = self._server.download(path, self._doing, deadline, body, LARGEST)
            if answer.status == 404:
                return None
            size = int(answer.headers.get("X-Text-Size") or self._offset)
            if size > self._offset:  # a start past the end is answered by the whole log again, which we have had
                body.seek(0)
                self._feed(body)
            self._offset = size
        return answer.headers.get("X-More-Data") == "true"

    @property
    def offset(self) -> int:
        """How far it has come, in bytes as Jenkins counts them."""
        return self._offset

    def end(self) -> None:
        """Hand on a last line that has no end."""
        self._split(self._decode(b"", final=True))
        if self._partial:
            self._on_line(self._partial)
            self._partial = ""

    def _feed(self, body: IO[bytes]) -> None:
        while piece := body.read(64 * 1024):
            self._split(self._decode(piece))

    def _split(self, text: str) -> None:
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._on_line(line.removesuffix("\r"))  # Jenkins sends \n as \r\n
        while len(self._partial) > _LONGEST_LINE:
            self._on_line(self._partial[:_LONGEST_LINE])
            self._partial = self._partial[_LONGEST_LINE:]


def follow(server: Server, job: Job, number: int, deadline: Deadline, on_line: Callable[[str], None]) -> Build:
    """Hand on the build's log until both the log and the build have ended; the build as it is then.

    Raises BuildLost where the build vanishes: a restart of Jenkins loses what runs, and burns its number.
    """
    log, wait = Log(server, job, number, on_line), FIRST_WAIT
    try:
        while True:
            deadline.require(f"waiting for the end of {job.name} #{number}")
            before = log.offset
            more = log.advance(deadline)
            if more is None:
                raise _lost(job, number)
            if not more:
                build = read_build(server, job, number, deadline)
                if build is None:
                    raise _lost(job, number)
                if not build.running:
                    log.advance(deadline)  # what came between the two questions
                    return build
            wait = FIRST_WAIT if log.offset > before else min(wait * 1.5, LONGEST_WAIT)
            time.sleep(min(wait, deadline.left))
    finally:
        log.end()


def _lost(job: Job, number: int) -> BuildLost:
    return BuildLost(
        f"{job.name} #{number} is lost: Jenkins does not know it any more",
        hint="a restart of Jenkins loses the builds that run; see what the build had done by then, and run this again",
        gone=True,
    )
