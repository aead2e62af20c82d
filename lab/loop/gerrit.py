"""Gerrit: its site, made once, and the server. It runs without a web interface: REST, git and ssh are whole.

`python -m lab.loop.gerrit LAB_ROOT` makes the site, or brings its configuration up to date.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab.layout import LOOPBACK
from lab.loop import jobs, parts
from lab.loop.places import GERRIT_PORT, GERRIT_SSH_PORT, GERRIT_URL, Places
from lab.plan import Probe, Server

_LIMIT = 120.0  # seconds to make the site; 4 to 8 are usual
_LOG4J = """\
log4j.rootCategory=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d [%t] %-5p %c : %m%n
"""
_FLOGGER = "com.google.common.flogger.backend.log4j.Log4jBackendFactory#getInstance"
_CONTEXT = "com.google.gerrit.server.logging.LoggingContext#getInstance"
_INDEXES = ("accounts", "changes_closed", "changes_open", "groups", "projects")
_SETTINGS = {
    "gerrit.basePath": "git",
    "gerrit.canonicalWebUrl": f"{GERRIT_URL}/",
    "index.type": "lucene",
    # The names of accounts and their passwords are the lab's own, and there is no other way to log in.
    "auth.type": "DEVELOPMENT_BECOME_ANY_ACCOUNT",
    "auth.gitBasicAuthPolicy": "HTTP",
    "auth.userNameCaseInsensitive": "true",
    "sendemail.enable": "false",
    "sshd.listenAddress": f"{LOOPBACK}:{GERRIT_SSH_PORT}",
    "httpd.listenUrl": f"http://{LOOPBACK}:{GERRIT_PORT}/",
    "cache.directory": "cache",
    "user.email": "gerrit@example.com",
    "transfer.timeout": "0",
    "accountPatchReviewDb.url": "jdbc:h2:mem:",
    # What was not written when the server was killed would be missing from every search.
    **{f"index.{name}.commitWithin": "0" for name in _INDEXES},
}


def servers(places: Places) -> list[Server]:
    """The job that makes the site, and the server."""
    make = (sys.executable, "-m", "lab.loop.gerrit", str(places.layout.root))
    daemon = (*_program(places), "Daemon", "-d", str(places.gerrit), "--headless", "--console-log")
    probe = Probe(url=f"{GERRIT_URL}/config/server/version")
    ports = ((LOOPBACK, GERRIT_PORT), (LOOPBACK, GERRIT_SSH_PORT))
    return [
        Server("gerrit-site", make, job=True),
        Server("gerrit", daemon, probe, ("gerrit-site",), ports, GERRIT_URL),
    ]


def write_config(places: Places) -> None:
    """Write how the server logs."""
    _log4j(places).write_text(_LOG4J)
    (places.config / "jul.properties").write_text(".level=SEVERE\n")


def make_site(places: Places) -> None:
    """Make the site, unless it is there, with the configuration as it is in this file. Raises CdError."""
    site = places.gerrit
    made = site / "made"
    if not made.exists():
        shutil.rmtree(site, ignore_errors=True)
        (site / "etc").mkdir(parents=True)
        (site / "logs").mkdir()
    # One by one: the file also holds what the site cannot do without, such as the server's id.
    for name, value in _SETTINGS.items():
        section, _, key = name.rpartition(".")
        _run(["git", "config", "--file", str(site / "etc" / "gerrit.config"), f"{section}.{key}", value])
    if not made.exists():
        options = ("--batch", "--dev", "--no-auto-start", "--skip-plugins", "--skip-all-downloads")
        _run([*_program(places), "Init", *options, "-d", str(site)])
        made.touch()


def setting(places: Places, name: str) -> str:
    """A setting of the server, such as gerrit.serverId. Raises CdError where it has none."""
    return _run(["git", "config", "--file", str(places.gerrit / "etc" / "gerrit.config"), "--get", name]).strip()


def host_key(places: Places) -> str:
    """A line for known_hosts."""
    words = (places.gerrit / "etc" / "ssh_host_ed25519_key.pub").read_text().split()
    return f"[{LOOPBACK}]:{GERRIT_SSH_PORT} {words[0]} {words[1]}\n"


def _program(places: Places) -> tuple[str, ...]:
    folder = parts.GERRIT.folder(places.layout)
    return (
        parts.java(),
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j.configuration=file:{_log4j(places)}",
        f"-Dflogger.backend_factory={_FLOGGER}",
        f"-Dflogger.logging_context={_CONTEXT}",
        f"-Djava.util.logging.config.file={places.config / 'jul.properties'}",
        "-cp",
        f"{folder / 'classes'}:{folder / 'lib'}/*",
        "Pgm",
    )


def _log4j(places: Places) -> Path:
    return places.config / "log4j.properties"


def _run(argv: list[str]) -> str:
    done = process.run(argv, Deadline(_LIMIT, "Gerrit's site"))
    if not done.ok:
        raise CdError(f"{argv[0]} failed", details=[*done.stdout.splitlines()[-5:], *done.stderr[-8:]])
    return done.stdout


if __name__ == "__main__":
    jobs.main(make_site)
