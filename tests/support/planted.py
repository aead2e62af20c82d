"""Secrets that tests plant, looked for in all that programs say and leave.

Who makes a secret plants it here. Of every test is then searched: what its programs printed, what reached the
stand-ins of servers, and the files below its folder, events, results, reports and audit records among them. What is
in a secret's own file is no leak: the files that were named when it was planted, and outside of .cd, which is
archived, files that nobody else may read and kubeconfigs that tests make.
A find fails the test, and names the secret, never its value. So does what could not be searched.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import pytest
import yaml
from click.testing import CliRunner

T = TypeVar("T")
SHORTEST = 8  # shorter values occur by chance
PIECE = 2**20  # bytes of a file that are looked at together
MOST_FILES = 20_000  # below one test's folder
_KUBECONFIG = {"apiVersion", "kind", "preferences", "clusters", "contexts", "users", "current-context", "extensions"}
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_NAMES = re.compile(r"TOKEN\Z|PASSWORD\Z|SECRET\Z|(?:API|PRIVATE)_KEY\Z", re.IGNORECASE)
_ASKED_FOR_SECRETS = ("kubectl",)  # tests get tokens and credentials from it


class Garden:
    """What was planted: each value with its name and how long it counts, and where it may be."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[str, str]] = {}
        self.stores: set[str] = set()
        self.found: list[str] = []
        self.watched: list[Path] = []
        self.scope = "function"

    def plant(self, name: str, value: str | bytes, *at: Path) -> None:
        """From now on `value` is a secret, which may lie in the files `at` and in private ones.

        Raises ValueError where it is too short to be looked for; there is nothing to look for in an empty one.
        """
        raw = (value.encode() if isinstance(value, str) else value).strip()
        parts = list(_parts(raw))
        if raw and not parts:
            raise ValueError(f"{name} is too short to be looked for: plant at least {SHORTEST} characters")
        for part in parts:
            self.values.setdefault(part, (name, self.scope))
        self.stores.update(str(path) for path in at)

    def watch(self, folder: Path) -> None:
        """Search this folder, too, once the test is over."""
        self.watched.append(folder)

    def forget(self, scope: str) -> None:
        """What was planted for one test, or one module, is over."""
        self.values = {value: known for value, known in self.values.items() if known[1] != scope}

    def see(self, where: str, text: str | bytes | None) -> None:
        """Note the secrets in what was said or sent."""
        if text and self.values:
            raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
            self.found += [f"{where} has {name}" for name in self.names_in(raw)]

    def names_in(self, raw: bytes) -> list[str]:
        """The names of the secrets in `raw`."""
        return sorted({name for value, (name, _) in self.values.items() if value in raw})

    def search(self, *roots: Path, most: int = MOST_FILES, strict: bool = False) -> list[str]:
        """The secrets in files below `roots`: all but their own files, and git's objects, which are compressed.

        `strict` knows no own files but those that were named.
        """
        if not self.values:
            return []
        found = list[str]()
        for number, path in enumerate(file for root in roots for file in _files(root)):
            if number >= most:
                return [*found, f"more than {most} files below {', '.join(map(str, roots))}: not all are searched"]
            if str(path) not in self.stores:
                names = self._names_in_file(path)
                if names and (strict or not _is_own(path)):
                    found += [f"{path} has {name}" for name in names]
        return found

    def _names_in_file(self, path: Path) -> list[str]:
        """The names of the secrets in a file, piece by piece; none where it is no file, or gone."""
        names, overlap, last = set[str](), max(map(len, self.values)) - 1, b""
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return []
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    names.update(self.names_in(last + piece))
                    last = (last + piece)[-overlap:]
        except FileNotFoundError:
            pass
        return sorted(names)


GARDEN = Garden()
plant, see, watch = GARDEN.plant, GARDEN.see, GARDEN.watch


def plant_private_files(*roots: Path) -> None:
    """Plant what private files below `roots` hold: keys, tokens, a JSON file's passwords, a kubeconfig's key."""
    for path in (file for root in roots for file in _files(root)):
        if not _private(path) or path.stat().st_size > PIECE:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if "PRIVATE KEY-----" in text:
            GARDEN.plant(path.name, text, path)
        for kind, value in re.findall(r'"?(client-key-data|token)"?: *"?([\w+/=.-]{16,})', text):
            GARDEN.plant(f"{path.name}'s {kind}", value, path)
            if kind == "client-key-data":
                GARDEN.plant(f"{path.name}'s key", base64.b64decode(value), path)
        if path.suffix == ".json":
            for name, value in re.findall(r'"([\w-]+)": *"([\w~.-]{16,})"', text):
                GARDEN.plant(f"{path.name}'s {name}", value, path)
        elif re.fullmatch(r"[\w~.-]{16,}\n?", text):
            GARDEN.plant(path.name, text, path)


def _parts(raw: bytes) -> Iterator[bytes]:
    """What of a secret is looked for: private keys line by line, as logs have them, or all of it, also as it is in
    base64, at any place within what was encoded, in an address, and in JSON.

    The end of an EC key is its public half.
    """
    for key in _PRIVATE.findall(raw):
        lines = key.split()
        yield from (line for line in (lines[:-1] or lines) if len(line) >= SHORTEST)
    if b"-----BEGIN" not in raw and len(raw) >= SHORTEST:
        text = raw.decode("utf-8", "replace")
        yield raw
        yield from (form.encode() for form in {quote(raw), quote(raw, safe=""), quote_plus(raw)})
        yield from (json.dumps(text, ensure_ascii=plain)[1:-1].encode() for plain in (True, False))
        yield from _in_base64(raw)


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """What base64 has of `raw` wherever it stands: of "user:password" in a header, whoever the user is."""
    for before in range(3):
        sure = slice(-(-8 * before // 6), 8 * (before + len(raw)) // 6)  # characters of which all bits are ours
        for altchars in (b"+/", b"-_"):
            yield base64.b64encode(bytes(before) + raw, altchars)[sure]


def _files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "objects" and not name.endswith(".git"))
        yield from (Path(folder) / name for name in sorted(files))


def _private(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) and not mode & 0o077


def _is_own(path: Path) -> bool:
    """Whether a file may have secrets in it that were planted elsewhere; what a command leaves in .cd may not."""
    try:
        return ".cd" not in path.parts and (_private(path) or _is_kubeconfig(path))
    except FileNotFoundError:
        return True


def _is_kubeconfig(path: Path) -> bool:
    """Whether a file is a kubeconfig, and nothing besides: one that a test has made for a command."""
    if path.stat().st_size > PIECE:
        return False
    try:
        found = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == "Config" and set(found) <= _KUBECONFIG


def _plant_environment(env: Mapping[Any, Any] | None) -> None:
    for name, value in (env or {}).items():
        if isinstance(name, str) and _NAMES.search(name) and len(str(value).strip()) >= SHORTEST:
            GARDEN.plant(name, str(value))


# Where pytest and the standard library are listened to


def _listened(function: Callable[..., T], heard: Callable[[T], Iterable[str | bytes | None]]) -> Callable[..., T]:
    @wraps(function)
    def listening(self: Any, *args: Any, **options: Any) -> T:
        made = function(self, *args, **options)
        program = _program(self)
        if program not in _ASKED_FOR_SECRETS:
            for text in heard(made):
                GARDEN.see(f"what {program} has printed", text)
        return made

    return listening


def _program(spoke: Any) -> str:
    """The name of a program that was started; a command that pytest or click has run is just that."""
    argv = getattr(spoke, "args", None)
    first = argv if isinstance(argv, str | bytes | os.PathLike) else (argv or ["a command"])[0]
    return os.path.basename(os.fsdecode(first))


def _with_environment(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def planting(self: Any, *args: Any, **options: Any) -> None:
        _plant_environment(options.get("env"))
        function(self, *args, **options)

    return planting


def _planted_by_name(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def planting(self: Any, name: str, value: str, prepend: str | None = None) -> None:
        _plant_environment({name: value})
        function(self, name, value, prepend)

    return planting


def pytest_configure() -> None:
    """Listen to what the tests' programs print, and learn what environments they get. The library reads pipes itself."""
    popen: Any = subprocess.Popen
    if hasattr(popen.communicate, "__wrapped__"):
        return
    popen.communicate = _listened(popen.communicate, lambda both: both)
    popen.__init__ = _with_environment(popen.__init__)
    capture: Any = pytest.CaptureFixture
    capture.readouterr = _listened(capture.readouterr, lambda both: both)
    runner: Any = CliRunner
    runner.invoke = _listened(runner.invoke, lambda done: [done.output])
    patch: Any = pytest.MonkeyPatch
    patch.setenv = _planted_by_name(patch.setenv)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    """What a fixture plants counts as long as the fixture lives; the lab's secrets are planted here."""
    before, GARDEN.scope = GARDEN.scope, str(fixturedef.scope)
    try:
        made: Any = yield
        if fixturedef.argname in ("lab", "loop"):
            plant_private_files(getattr(made, "lab", made).layout.pki)
        if fixturedef.argname == "loop":
            plant_private_files(made.places.accounts)
        return made
    finally:
        GARDEN.scope = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test after which a secret is found where it must not be has failed, be it only its fixtures' end that left it."""
    report: Any = yield
    if call.when in ("call", "teardown") and report.passed:
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        folders = [*GARDEN.watched, *([folder] if folder else [])]
        GARDEN.see("captured output", report.capstdout + report.capstderr + report.caplog)
        GARDEN.found += GARDEN.search(*folders)
        if GARDEN.found:
            report.outcome = "failed"
            report.longrepr = "planted secrets were found: " + "; ".join(dict.fromkeys(GARDEN.found))
            GARDEN.found.clear()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """The next test begins with nothing found, and without what was planted for this one."""
    try:
        return (yield)
    finally:
        GARDEN.found.clear()
        GARDEN.watched.clear()
        GARDEN.forget("function")
        if nextitem is None or nextitem.path != item.path:
            GARDEN.forget("module")
