"""Zuul: scheduler, executor and web server, with their configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from lab.layout import LOOPBACK
from lab.loop import identity, parts
from lab.loop.places import (
    CHECKOUT,
    CONNECTION,
    EVENTS,
    EVENTS_AFTER,
    EXECUTOR_HEALTH_PORT,
    FINGER_PORT,
    GERRIT_SSH_PORT,
    GERRIT_URL,
    HOSTNAME,
    LAUNCHER_HEALTH_PORT,
    LOGS_URL,
    SCHEDULER_HEALTH_PORT,
    TENANT,
    ZOOKEEPER_PORT,
    ZUUL_PORT,
    ZUUL_URL,
    Places,
)
from lab.pki import write_private
from lab.plan import Probe, Server
from lab.servers import write_config as write_json

_AFTER = ("loop-setup", "zookeeper")


def servers(places: Places) -> list[Server]:
    """Zuul's parts, and a job that waits for the events. Each part serves once it says so itself, the web
    server once it shows the tenant."""
    return [
        _part(places, "zuul-scheduler", SCHEDULER_HEALTH_PORT),
        # Zuul has no setting for the address of the first port, and takes all.
        _part(places, "zuul-executor", EXECUTOR_HEALTH_PORT, ("0.0.0.0", FINGER_PORT)),
        _part(places, "zuul-launcher", LAUNCHER_HEALTH_PORT),
        Server(
            "zuul-web",
            _argv(places, "zuul-web"),
            Probe(url=f"{ZUUL_URL}/api/tenant/{TENANT}/status"),
            _AFTER,
            ((LOOPBACK, ZUUL_PORT),),
            ZUUL_URL,
        ),
        Server(
            EVENTS,
            (sys.executable, "-m", "lab.loop.scheduler", str(places.layout.root)),
            after=(*EVENTS_AFTER, "zuul-web"),
            job=True,
        ),
    ]


def _part(places: Places, program: str, health: int, *more: tuple[str, int]) -> Server:
    """A part of Zuul that tells of its health on a port of its own; `more` are the other ports that it takes."""
    address = f"http://{LOOPBACK}:{health}"
    ready = Probe(url=f"{address}/health/ready")
    return Server(program, _argv(places, program), ready, _AFTER, (*more, (LOOPBACK, health)), address)


def _argv(places: Places, program: str) -> tuple[str, ...]:
    binaries = parts.ZUUL.folder(places.layout) / "bin"
    # The executor hands its own environment on to the jobs, so it gets a small one.
    environment = (
        f"HOME={places.zuul / 'home'}",
        "LANG=C.UTF-8",
        f"PATH={binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        # All that a job runs shares a home of its own, what a change has brought among it: see docs/zuul.md.
        # This one is there in every sandbox, can be written in none, and has no plugins.
        "ANSIBLE_HOME=/usr/share",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "PYTHONNOUSERSITE=1",
    )
    return ("env", "-i", *environment, str(binaries / program), "-f", "-c", str(places.zuul_conf))


def write_config(places: Places) -> None:
    """Write zuul.conf, the site's variables, and what else the parts of Zuul need to start."""
    for name in ("home", "scheduler", "executor", "launcher", "web", "git"):
        (places.zuul / name).mkdir(parents=True, exist_ok=True)
    for folder in (places.run, places.builds, places.job_logs):
        folder.mkdir(parents=True, exist_ok=True)
    write_private(places.zuul_conf, _conf(places).encode())
    # The base job reads these; Zuul gives them the last word over any job's own variables.
    write_json(_variables(places), {"site_logs_folder": str(places.job_logs), "site_logs_url": LOGS_URL})


def _variables(places: Places) -> Path:
    return places.config / "site-variables.json"


def _visible() -> str:
    """What trusted jobs call: this checkout's commands, and the Python that they run on."""
    wanted = {str(CHECKOUT), sys.prefix, sys.base_prefix}
    return ":".join(sorted(path for path in wanted if not path.startswith("/usr")))


def _conf(places: Places) -> str:
    state, keys = places.zuul, places.keys
    sections: dict[str, dict[str, object]] = {
        "zookeeper": {
            "hosts": f"{LOOPBACK}:{ZOOKEEPER_PORT}",
            "tls_ca": keys / "ca.crt",
            "tls_cert": keys / "zuul.crt",
            "tls_key": keys / "zuul.key",
            # How long the others wait for a part that has died, before they do without it.
            "session_timeout": 20,
        },
        "keystore": {"password": identity.password(places, "keystore")},
        "database": {"dburi": f"sqlite:///{state / 'zuul.sqlite'}"},
        "scheduler": {
            "tenant_config": places.tenants,
            "state_dir": state / "scheduler",
            "command_socket": places.socket("scheduler"),
            "prometheus_port": SCHEDULER_HEALTH_PORT,
            "prometheus_addr": LOOPBACK,
        },
        "merger": {
            "git_dir": state / "git" / "merger",
            "git_user_name": "Zuul",
            "git_user_email": "zuul@example.com",
        },
        "executor": {
            "state_dir": state / "executor",
            "git_dir": state / "git" / "executor",
            "job_dir": places.builds,
            "command_socket": places.socket("executor"),
            "private_key_file": keys / "node",
            "manage_ansible": "false",
            "ansible_root": parts.ANSIBLE.folder(places.layout),
            "variables": _variables(places),
            "finger_port": FINGER_PORT,
            "hostname": "localhost",
            "prometheus_port": EXECUTOR_HEALTH_PORT,
            "prometheus_addr": LOOPBACK,
            # By default a machine of two processors that compiles something takes no jobs.
            "load_multiplier": 50,
            "min_avail_mem": 1,
            "min_avail_hdd": 1,
            "disk_limit_per_job": -1,
            "trusted_ro_paths": _visible(),
            "trusted_rw_paths": places.job_logs,
        },
        "launcher": {
            "state_dir": state / "launcher",
            "temp_dir": state / "launcher",
            "command_socket": places.socket("launcher"),
            "prometheus_port": LAUNCHER_HEALTH_PORT,
            "prometheus_addr": LOOPBACK,
        },
        "connection static": {"driver": "static"},
        "auth operator": {
            "driver": "HS256",
            "allow_authz_override": "true",
            "realm": "lab",
            "client_id": "lab",
            "issuer_id": "lab",
            "secret": identity.password(places, "operator"),
        },
        "web": {
            "listen_address": LOOPBACK,
            "port": ZUUL_PORT,
            "root": f"{ZUUL_URL}/",
            "command_socket": places.socket("web"),
            "state_dir": state / "web",
        },
        f"connection {CONNECTION}": {
            "driver": "gerrit",
            "server": LOOPBACK,
            "canonical_hostname": HOSTNAME,
            "port": GERRIT_SSH_PORT,
            "baseurl": GERRIT_URL,
            "user": "zuul",
            "sshkey": places.ssh_key("zuul"),
            "password": identity.password(places, "zuul"),
            "auth_type": "basic",
        },
    }
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name}={value}" for name, value in options.items()), ""]
    return "\n".join(lines)
