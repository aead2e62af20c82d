"""What the loop's servers are made of: Maven artifacts and Python packages, each below LAB_ROOT/tools.

Java's parts are put together in a folder that appears once it is whole. A virtual environment has its own path
in it, so it is made in place, and counts once its last file is there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from lab import images
from lab.layout import Layout

HERE = Path(__file__).parent
GERRIT_VERSION = "3.10.2"
# Debian's packages. Zuul looks into its jobs' sandboxes with ps.
PACKAGES = (
    "bubblewrap",
    "git",
    "maven",
    "openjdk-17-jdk-headless",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3-venv",
)
_LIMIT = 1200.0  # seconds for one part; less than one minute is usual
# Debian's own, so that the sandbox of Zuul's jobs, which shows /usr, has it.
_PYTHON = "/usr/bin/python3"
_WHOLE = "whole"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One part: its folder below LAB_ROOT/tools, and the file that pins what goes in."""

    name: str
    version: str
    pinned: Path

    def folder(self, layout: Layout) -> Path:
        """Where it is; another list of what goes in makes another folder."""
        digest = hashlib.sha256(self.pinned.read_bytes()).hexdigest()[:8]
        return layout.tools / f"{self.name}-{self.version}-{digest}"


GERRIT = Part("gerrit", GERRIT_VERSION, HERE / "maven" / "gerrit.xml")
ZOOKEEPER = Part("zookeeper", "3.9.3", HERE / "maven" / "zookeeper.xml")
ZUUL = Part("zuul", "14.3.0", HERE / "zuul-requirements.lock")
ANSIBLE = Part("ansible-core", "2.18.19", HERE / "ansible-requirements.lock")


def install(layout: Layout, say: Say) -> None:
    """Install what is missing; Debian's PACKAGES must be there. Raises Unavailable where a part cannot be had."""
    layout.tools.mkdir(parents=True, exist_ok=True)
    for part in (GERRIT, ZOOKEEPER):
        if not part.folder(layout).exists():
            _timed(part, partial(_assemble, part, layout), say)
    for part in (ZUUL, ANSIBLE):
        if not (part.folder(layout) / _WHOLE).exists():
            _timed(part, partial(_environment, part, layout), say)


def java(program: str = "java") -> str:
    """A program of the Java that the servers run on, whatever other one is on PATH."""
    return f"/usr/lib/jvm/java-17-openjdk-{images.architecture()}/bin/{program}"


def _timed(part: Part, make: Callable[[], None], say: Say) -> None:
    say(f"{part.name} {part.version}: installing")
    started = time.monotonic()
    make()
    say(f"{part.name} {part.version}: installed in {time.monotonic() - started:.0f} s")


def _assemble(part: Part, layout: Layout) -> None:
    with tempfile.TemporaryDirectory(prefix=".building-", dir=layout.tools) as scratch:
        made = Path(scratch) / part.name
        jars = made / "lib"
        jars.mkdir(parents=True)
        shutil.copy(part.pinned, made / "pom.xml")
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        _run(part, ["mvn", "--quiet", "--batch-mode", f"--file={made / 'pom.xml'}", *goal])
        if part is GERRIT:
            _add_launcher(made)
        made.rename(part.folder(layout))


def _add_launcher(made: Path) -> None:
    classes = made / "classes"
    version = classes / "com" / "google" / "gerrit" / "common" / "Version"
    version.parent.mkdir(parents=True)
    # Without this resource the server says "(dev)", which Zuul cannot read.
    version.write_text(f"{GERRIT_VERSION}\n")
    source = str(HERE / "maven" / "Pgm.java")
    _run(GERRIT, [java("javac"), "-cp", f"{made / 'lib'}/*", "-d", str(classes), source])


def _environment(part: Part, layout: Layout) -> None:
    folder = part.folder(layout)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    home = folder
    if part is ANSIBLE:
        # Zuul looks for a version of Ansible by its number. One serves as both that this Zuul knows, instead of
        # two with the tools of every cloud.
        home = folder / "11"
        (folder / "9").symlink_to(home.name)
    _run(part, [_PYTHON, "-m", "venv", str(home)])
    # What is pinned is the whole set, so nothing is resolved.
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run(part, [*pip, "--requirement", str(part.pinned)])
    (folder / _WHOLE).touch()


def _run(part: Part, argv: list[str]) -> None:
    # Nothing of the environment that this runs in, such as PYTHONPATH, belongs into another.
    env = {"PYTHONPATH": "", "PYTHONHOME": "", "VIRTUAL_ENV": ""}
    done = process.run(argv, Deadline(_LIMIT, f"installing {part.name}"), env=env)
    if not done.ok:
        raise Unavailable(
            f"{part.name} {part.version} cannot be installed",
            details=[*done.stdout.splitlines()[-6:], *done.stderr[-6:]],
            hint="see whether Maven Central and PyPI, or their mirrors, can be reached, then run this again",
        )
