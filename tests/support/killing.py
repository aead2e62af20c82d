"""Runs that are killed at a moment of one's choice, and the run after them, which has to mend what they left."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deployments import Deployment

from lab.images import base_digest
from lab.relay import Relay, Request

HEALED = 10.0  # seconds from the lease's expiry to the end of the run that heals, at most: issue 5
EXPIRES = 1.0  # seconds; in place of the 15 that a lease is taken for, so that hundreds of kills can be tried


@dataclass(frozen=True)
class Way:
    """One kind of run to kill. `before` puts the release where it starts, and returns the run's words; `after` returns
    those of the run that heals it, and the commit that must be live then. `codes` are how that run may end, and
    `bounded` is asked before it."""

    name: str
    before: Callable[[Deployment], list[str]]
    after: Callable[[Deployment, int], tuple[list[str], str]]
    codes: tuple[int, ...] = (0,)
    bounded: Callable[[Deployment], bool] = lambda _: True  # whether HEALED holds


@dataclass
class Kills:
    """What was killed: at which request, and how long the run after it took beyond the lease's expiry, in seconds."""

    at: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, at: Request | str, seconds: float) -> None:
        """Count one."""
        with self.lock:
            self.at.append(str(at))
            self.seconds.append(seconds)

    def __str__(self) -> str:
        return f"{len(self.at)} kills, all healed, the slowest {max(self.seconds, default=0):.1f} s after the expiry"


def count_calls(way: Way, web: Deployment, relay: Relay, helm: HelmCalls) -> tuple[int, int]:
    """How many requests and how many calls of Helm this way's run makes where nobody kills it."""
    argv = way.before(web)
    relay.reset()
    helm.reset()
    run = web.start(*argv, env={"KUBECONFIG": str(relay.kubeconfig), **helm.env})
    run.communicate()
    found = len(relay.requests), helm.count
    heal(way, web, 0)
    return found


def kill_at_request(way: Way, web: Deployment, relay: Relay, number: int, kills: Kills) -> None:
    """Kill a run before its request `number` is passed on, and let the next one heal it."""
    argv = way.before(web)
    relay.reset()
    run = web.start(*argv, env={"KUBECONFIG": str(relay.kubeconfig)})
    relay.strike(number, run)
    run.communicate()
    at = relay.struck
    relay.reset()
    seconds = heal(way, web, number)
    if at is not None:  # a run may need one watch fewer than the one that was counted
        kills.add(f"request {number}, {at}", seconds)


def kill_at_helm(way: Way, web: Deployment, helm: HelmCalls, number: int, kills: Kills) -> None:
    """Kill a run as it calls Helm for the `number`th time, and let the next one heal it."""
    argv = way.before(web)
    helm.reset(number)
    run = web.start(*argv, env=helm.env)
    run.communicate()
    seconds = heal(way, web, number)
    assert run.returncode < 0, f"{way.name}: Helm was not called {number} times"
    kills.add(f"Helm call {number}", seconds)


def heal(way: Way, web: Deployment, number: int) -> float:
    """Run what comes next, and see that all is well; the seconds that it took beyond the lease's expiry, or 0 where
    they are not bounded."""
    waits = EXPIRES if shorten_lease(web) else 0.0
    argv, commit = way.after(web, number)
    bounded = way.bounded(web)
    began = time.monotonic()
    done = web.run(*argv)
    seconds = time.monotonic() - began - waits
    about = f"{way.name}, killed at {number}: {done.err}"
    assert done.code in way.codes, about
    assert web.serving()["revision"] == commit, about
    statuses = [status for _, status in web.helm_statuses()]
    # Helm looks at its newest revision only: what a Helm that died has left before that, as deployed or pending, stays
    # in its history, and keeps nobody from anything.
    assert statuses[-1] == "deployed", about
    record = web.record()
    assert not [entry for entry in record["revisions"] if entry["status"] == "deploying"], about
    live = next(entry for entry in record["revisions"] if entry["revision"] == record["live"])
    assert (live["commit"], live["status"]) == (commit, "verified"), about
    assert holder(web) == "", about
    return seconds if bounded else 0.0


def holder(web: Deployment) -> str:
    """Who holds the release's lease; empty where nobody does."""
    found = web.get("leases", "--field-selector=metadata.name=cd-web")["items"]
    return str(found[0]["spec"].get("holderIdentity") or "") if found else ""


def shorten_lease(web: Deployment) -> bool:
    """Let the lease that a dead run has left run out after EXPIRES; whether there is one."""
    if not holder(web):
        return False
    patch = json.dumps({"spec": {"leaseDurationSeconds": int(EXPIRES)}})
    web.kubectl("patch", "lease", "cd-web", "--type=merge", "-p", patch)
    return True


class HelmCalls:
    """A Helm that counts how often it is called, and kills who calls it the n-th time."""

    def __init__(self, folder: Path, program: str) -> None:
        self._calls, self._at = folder / "helm-calls", folder / "helm-kill-at"
        script = folder / "counting-helm"
        calls, at = shlex.quote(str(self._calls)), shlex.quote(str(self._at))
        # It dies with its parent, as Helm does; until then it must not go on.
        script.write_text(
            f"#!/bin/sh\necho >> {calls}\n"
            f'if [ "$(wc -l < {calls})" = "$(cat {at})" ]; then kill -9 $PPID; exec sleep 60; fi\n'
            f'exec {shlex.quote(program)} "$@"\n'
        )
        script.chmod(0o755)
        self.env = {"CD_HELM": str(script)}
        self.reset()

    def reset(self, kill_at: int = 0) -> None:
        """Count from 1 again, and kill at the call `kill_at`; 0 for never."""
        self._calls.write_text("")
        self._at.write_text(str(kill_at))

    @property
    def count(self) -> int:
        """How often it was called."""
        return len(self._calls.read_text())


_numbers = itertools.count()


def fresh(**values: object) -> dict[str, object]:
    """Values that no commit has had yet."""
    return {"text": f"n{next(_numbers)}", **values}


def _deploy(web: Deployment) -> list[str]:
    return ["helm-deploy", "--digest", web.digest]


def _upgrade(web: Deployment) -> list[str]:
    web.commit(**fresh())
    return _deploy(web)


def _install(web: Deployment) -> list[str]:
    subprocess.run(
        ["helm", "uninstall", "web", "-n", web.namespace, "--ignore-not-found", "--wait"], env=dict(web.env), check=True,
        capture_output=True,
    )  # fmt: skip
    web.kubectl("delete", "configmap/cd-web", "lease/cd-web", "--ignore-not-found")
    return _upgrade(web)


def _same_or_newer(web: Deployment, number: int) -> tuple[list[str], str]:
    """The very same run again, and every other time that of a newer commit: both come after a crash."""
    if number % 2:
        web.commit(**fresh())
    return _deploy(web), web.git("rev-parse", "HEAD")


def _break(web: Deployment) -> list[str]:
    """A version whose command does not exist, which is called at once."""
    template = web.folder / "chart" / "templates" / "all.yaml"
    template.write_text(template.read_text().replace("[python3, -u,", "[/no/such, -u,"))
    return _upgrade(web)


def _mend(web: Deployment, _number: int) -> tuple[list[str], str]:
    template = web.folder / "chart" / "templates" / "all.yaml"
    template.write_text(template.read_text().replace("[/no/such, -u,", "[python3, -u,"))
    return _deploy(web), web.commit(**fresh())


def break_another_image(web: Deployment) -> list[str]:
    """A broken version with an image of its own, which is quarantined once it has failed."""
    for digest in web.record()["quarantine"]:
        assert web.run("cd-hold", "--release", digest).code == 0
    _break(web)
    return ["helm-deploy", "--digest", base_digest(web.image.partition("/")[0], "3.11")]


def _same_broken(web: Deployment, _number: int) -> tuple[list[str], str]:
    """The very same run again. It ends with the version live that was live before."""
    verified = [entry["commit"] for entry in web.record()["revisions"] if entry["status"] == "verified"]
    return ["helm-deploy", "--digest", base_digest(web.image.partition("/")[0], "3.11")], verified[-1]


def _is_condemned(web: Deployment) -> bool:
    """Whether the run that was killed had its verdict. Before that, the same one again takes as long as it took."""
    return bool(web.record()["quarantine"])


def _to_other(web: Deployment) -> list[str]:
    """A rollback to the newest verified revision that is of another commit than what is live."""
    record = web.record()
    live = next(entry for entry in record["revisions"] if entry["revision"] == record["live"])
    others = [e for e in record["revisions"] if e["status"] == "verified" and e["commit"] != live["commit"]]
    return ["helm-rollback", "--to", str(others[-1]["revision"])]


def _rolled_back(web: Deployment, _number: int) -> tuple[list[str], str]:
    """A bare rerun, which goes where the killed run was going, or by number where it had not said so yet."""
    to = (web.record()["hold"] or {}).get("to")
    argv = ["helm-rollback", "--to", to] if to else _to_other(web)
    commits = {str(entry["revision"]): entry["commit"] for entry in web.record()["revisions"]}
    return argv, commits[argv[2]]


WAYS = (
    Way("first deploy", _install, _same_or_newer),
    Way("deploy", _upgrade, _same_or_newer),
    Way("deploy that fails and goes back", _break, _mend),
    # 7 where it had still to fail or to go back, 6 where the killed run had done all of it.
    Way("deploy that fails and goes back, again", break_another_image, _same_broken, (6, 7), _is_condemned),
    Way("rollback by hand", _to_other, _rolled_back),
)


def copy_of(web: Deployment, lab_kubectl: Callable[..., str], number: int) -> Deployment:
    """Another service like `web`, in a folder and a namespace of its own."""
    folder = web.folder.parent / f"copy-{number}"
    folder.mkdir()
    namespace = f"{web.namespace}-{number}"
    lab_kubectl("create", "namespace", namespace)
    made = Deployment.create(folder, namespace, web.image, web.digest, web.env)
    assert made.deploy().code == 0
    made.commit(**fresh())
    assert made.deploy().code == 0
    return made
