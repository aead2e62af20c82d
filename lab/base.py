"""The base image for services, made of Debian's own packages: Python, and Python with pytest.

Two layers: `slim` is a minimal Debian with Python, and `pytest` adds what tests need. The second image has
both, so a registry and a node keep the first one once.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import re
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from lab import sandbox
from lab.plan import read_json, write_json

KEY = "python-3.11-1"  # raise the last number when what is in the image changes
SUITE = "bookworm"
_STATUS = "var/lib/dpkg/status"
LAYERS = ("slim", "pytest")
_LIMIT = 900.0  # seconds
_TEST_PACKAGES = re.compile(r"python3-(attr|iniconfig|more-itertools|packaging|pkg-resources|pluggy|py|pytest)$")
_HOOKS = "/usr/share/mmdebstrap/hooks/merged-usr"
_LEFT_OUT = re.compile(
    r"(dev|proc|run|sys|tmp)/.|etc/(hostname|resolv\.conf)$|etc/apt/apt\.conf\.d/99|etc/dpkg/dpkg\.cfg\.d/99"
    r"|var/(cache|log)/.*[^/]$|var/lib/apt/lists/.|usr/share/(lintian|bug|info|bash-completion)/"
)


@dataclass(frozen=True)
class Layer:
    """One layer: its file, the digests of that and of what it unpacks to, and its size in bytes."""

    file: str
    digest: str
    diff_id: str
    size: int


def layers(images: Path) -> list[Layer]:
    """The layers that were made, the lowest first; none where they have still to be made."""
    entries = read_json(images / KEY / "layers.json").get("layers", [])
    return [Layer(**entry) for entry in entries]


def make(images: Path, say: Callable[[str], None]) -> None:
    """Make the layers, unless they are there. Raises Unavailable where Debian's packages cannot be had."""
    if layers(images):
        return
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=images) as scratch:
        Path(scratch).chmod(0o755)  # apt downloads as a user of its own
        tree = Path(scratch) / "root.tar"
        started = time.time() - 60  # mmdebstrap gives what it writes the time at which it started
        _bootstrap(tree, say)
        say("base image: packing its layers")
        made = Path(scratch) / KEY
        made.mkdir()
        packed = _split(tree, made, started)
        write_json(made / "layers.json", {"layers": [asdict(layer) for layer in packed]})
        made.rename(images / KEY)


def _bootstrap(target: Path, say: Callable[[str], None]) -> None:
    def tell(line: str) -> None:
        if line.startswith("I: ") and "/" not in line:
            say(f"base image: {line[3:]}")

    options = [f"--aptopt={line}" for line in _apt_options()]
    paths = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
    options += [f"--dpkgopt=path-exclude={path}" for path in paths]
    argv = [
        *sandbox.prefix(),
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        # Instead of usrmerge, which would bring all of Perl along.
        f"--hook-dir={_HOOKS}",
        "--include=python3,python3-pytest,usr-is-merged",
        *options,
        SUITE,
        str(target),
        *_sources(),
    ]
    # Killed at any moment, it leaves its files where the next `install` finds and removes them.
    env = {"PATH": sandbox.path(), "TMPDIR": str(target.parent)}
    done = process.run(argv, Deadline(_LIMIT, "mmdebstrap"), env=env, on_line=tell)
    if not done.ok:
        raise Unavailable(
            "the base image cannot be made: mmdebstrap failed",
            details=done.stderr[-8:],
            hint="see whether apt-get update works, then run this again",
        )


def _sources() -> list[str]:
    """The machine's own sources of Debian's packages, however they are written down."""
    wanted = "$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    done = process.run(["apt-get", "indextargets", "--format", wanted], Deadline(60, "apt-get"))
    found = parse_sources(done.stdout)
    if not found:
        raise Unavailable(
            f"apt knows no source of Debian {SUITE}'s packages",
            hint=f"the lab is made for Debian 12 ({SUITE}); run apt-get update",
        )
    return found


def parse_sources(text: str) -> list[str]:
    """Lines for sources.list from `apt-get indextargets`, Debian's own for the suite alone."""
    found = []
    for line in text.splitlines():
        made_by, origin, uri, codename, component = line.split("|")
        debian = made_by == "Packages" and origin == "Debian" and component == "main"
        if debian and codename.removesuffix("-updates").removesuffix("-security") == SUITE:
            found.append(f"deb {uri} {codename} {component}")
    return sorted(set(found), key=len)  # the suite itself before its updates


def _apt_options() -> list[str]:
    """How the machine's apt reaches its sources: proxies, certificates."""
    done = process.run(["apt-config", "dump", "Acquire"], Deadline(60, "apt-config"))
    wanted = re.compile(r'Acquire::https?::\S*(Proxy|CaInfo|CaPath|Verify|Ssl)\S* ".+";', re.IGNORECASE)
    return [line for line in done.stdout.splitlines() if wanted.match(line)]


class _Output:
    """A layer as it is written: compressed to its file, both digests taken on the way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._path = path
        # Neither name nor time in the header: the same files make the same bytes.
        self._gzip = gzip.GzipFile("", "wb", 6, self._file, 0)
        self._plain = hashlib.sha256()
        # A stream, since nothing that was written is read again.
        self.tar = tarfile.TarFile.open(None, "w|", self, format=tarfile.PAX_FORMAT)  # type: ignore[call-overload]

    def write(self, data: bytes) -> int:
        """Take what the tar file writes."""
        self._plain.update(data)
        return self._gzip.write(data)

    def close(self) -> Layer:
        """Finish the file, and describe it."""
        self.tar.close()
        self._gzip.close()
        self._file.close()
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._path.stat().st_size
        return Layer(self._path.name, f"sha256:{digest}", f"sha256:{self._plain.hexdigest()}", size)


def _split(tree: Path, folder: Path, started: float) -> list[Layer]:
    with tarfile.open(tree) as source:
        members = {member.name.removeprefix("./"): member for member in source}
        slim_status = without_tests("\n".join(_lines(source, members[_STATUS]))).encode()
        belongs = _test_files(source, members)
        newest = max(int(m.mtime) for m in members.values() if m.mtime < started)
        outputs = {name: _Output(folder / f"{name}.tar.gz") for name in LAYERS}
        for path, member in members.items():
            if _LEFT_OUT.match(path):
                continue
            member.name = path
            member.mtime = min(int(member.mtime), newest)  # not the time at which it was installed here
            member.pax_headers = {}
            content = source.extractfile(member) if member.isreg() else None
            output = outputs["pytest" if path in belongs or path == _STATUS else "slim"]
            output.tar.addfile(member, content)
            if path == _STATUS:
                lower = copy.copy(member)
                lower.size = len(slim_status)
                outputs["slim"].tar.addfile(lower, io.BytesIO(slim_status))
    return [output.close() for output in outputs.values()]


def without_tests(status: str) -> str:
    """dpkg's list of packages without those that only tests need."""
    entries = [(re.match(r"Package: (\S+)", entry), entry) for entry in status.split("\n\n")]
    return "\n\n".join(entry for name, entry in entries if not (name and _TEST_PACKAGES.match(name[1])))


def _test_files(source: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> set[str]:
    """The paths that belong to the packages that only tests need, and to nobody else."""
    owned: dict[bool, set[str]] = {True: set(), False: set()}
    for path in list(members):
        if listed := re.match(r"var/lib/dpkg/info/([^:/]+)(:\w+)?\.list$", path):
            tests = bool(_TEST_PACKAGES.match(listed[1]))
            owned[tests].update(line.lstrip("/") for line in _lines(source, members[path]))
    only = owned[True] - owned[False]
    return {path for path in members if _is_of(path, only)}


def _is_of(path: str, only: set[str]) -> bool:
    info = re.match(r"var/lib/dpkg/info/([^:/]+?)(:\w+)?\.\w+$", path)
    compiled = re.match(r"(.*/)__pycache__/([^/]+)\.cpython-\d+\.pyc$", path)
    folder = path.removesuffix("/__pycache__")
    return (
        path in only
        or bool(info and _TEST_PACKAGES.match(info[1]))
        or bool(compiled and f"{compiled[1]}{compiled[2]}.py" in only)
        or (folder != path and folder in only)
    )


def _lines(source: tarfile.TarFile, member: tarfile.TarInfo) -> list[str]:
    content = source.extractfile(member)
    assert content is not None
    return content.read().decode().split("\n")
