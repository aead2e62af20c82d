"""Helm 3 and 4: it renders and applies. Whether that was a success is judged elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import DISK_FULL, CdError, Unavailable, UsageProblem, disk_full
from cdlib.process import Finished
from cdlib.rollout.api import METADATA_ONLY, Api, Object, path
from cdlib.rollout.helm_answers import HelmRevision, away, may_not, not_allowed, objects, passes, reason, revisions
from cdlib.rollout.lease import Lease
from cdlib.run import Run
from cdlib.streams import Stop
from cdlib.target import Environment

PROGRAM = "CD_HELM"  # which helm, where PATH's is not the one
HISTORY = 30  # revisions that Helm keeps; its default of 10 can lose the last good one in a bad afternoon
_QUICK = 30.0
_HINT = f"install Helm 3.14 or later, or name it by {PROGRAM}"
# Helm's own variables must not lead it elsewhere than the options do.
_ENV = {"HELM_DRIVER": "secret", "HELM_NAMESPACE": "", "HELM_KUBECONTEXT": "", "HELM_DEBUG": "false"}


class Helm:
    """Helm for one release in one environment. `lease`, once set, ends a running Helm when it is lost."""

    def __init__(self, run: Run, environment: Environment) -> None:
        self._run, self._environment = run, environment
        self.program = os.environ.get(PROGRAM) or "helm"
        self.lease: Lease | None = None

    def require_version(self) -> None:
        """Raise UsageProblem where Helm is older than 3.14, whose options are all that is used here.

        Asked only once something has failed: it costs as much as rendering a chart.
        """
        said = process.run([self.program, "version", "--template={{.Version}}"], Deadline(_QUICK), hint=_HINT).stdout
        match = re.match(r"v(\d+)\.(\d+)", said)
        if match is None or (int(match[1]), int(match[2])) < (3, 14):
            raise UsageProblem(f"{self.program} is {said or 'no Helm'}", hint=_HINT)

    def render(self, chart: Path, values: Sequence[Path], deadline: Deadline, *, upgrade: bool,
               kube_version: str) -> list[Object]:  # fmt: skip
        """The objects that the chart renders to, as far as that shows without the cluster.

        `kube_version` may be empty. Raises UsageProblem where the chart does not render.
        """
        release = self._environment.release
        argv = ["template", release, str(chart), "--namespace", self._environment.namespace, *_files(values)]
        argv += [*(["--is-upgrade"] if upgrade else []), *(["--kube-version", kube_version] if kube_version else [])]
        done = self._call(argv, deadline.part(_QUICK, "helm template"), cluster=False)
        if not done.ok:
            self.require_version()
            raise UsageProblem(
                f"the chart does not render: {reason(done)}",
                details=[line for line in done.stderr if line.strip()][-5:],
                hint="try it by: helm template, with the values files of cd.yaml and targets.yaml",
            )
        return objects(done.stdout)

    def manifest(self, revision: int, deadline: Deadline) -> list[Object]:
        """The objects of a stored revision, without its hooks."""
        return self._stored("manifest", revision, deadline)

    def hooks(self, revision: int, deadline: Deadline) -> list[Object]:
        """The hooks of a stored revision, also of one that Helm is at work on."""
        return self._stored("hooks", revision, deadline)

    def _stored(self, what: str, revision: int, deadline: Deadline) -> list[Object]:
        argv = ["get", what, self._environment.release, "--revision", str(revision), *self._where]
        done = self._call(argv, deadline.part(_QUICK, f"helm get {what}"))
        if done.ok:
            return objects(done.stdout)
        why = reason(done)
        if passes(why):
            raise _not_now(why)
        if not_allowed(why):
            raise may_not(why)
        raise UsageProblem(f"Helm has no revision {revision}: {why}", hint="helm-rollback --list shows them")

    def history(self, api: Api, deadline: Deadline) -> list[HelmRevision]:
        """All revisions that Helm has of the release, oldest first, read from its records' labels."""
        where = path("secrets", self._environment.namespace)
        selector = f"owner=helm,name={self._environment.release}"
        found = api.get(where, deadline, accept=METADATA_ONLY, labelSelector=selector) or {"items": []}
        return revisions(found.get("items") or [])

    def upgrade_argv(self, chart: Path, values: Sequence[Path], deadline: Deadline) -> list[str]:
        """What installs or upgrades the release, without waiting for it."""
        argv = ["upgrade", self._environment.release, str(chart), "--install", f"--history-max={HISTORY}"]
        return [*argv, *self._where, *_files(values), _timeout(deadline), "--output=json"]

    def upgrade(self, chart: Path, values: Sequence[Path], deadline: Deadline, stop: Stop | None = None, *,
                insist: bool = False) -> Finished:  # fmt: skip
        """Install or upgrade; Helm waits for hooks, and for nothing else. `stop`, once true, ends it.

        With `insist` it also sets what somebody else has set since, which Helm 4 alone knows to tell. Raises
        Unavailable where it was cut off.
        """
        return self._call([*self.upgrade_argv(chart, values, deadline), *_insisting(insist)], deadline, stop=stop)

    def rollback(self, revision: int, deadline: Deadline, stop: Stop | None = None, *,
                 insist: bool = False) -> Finished:  # fmt: skip
        """Return to `revision`, by number: Helm's own default is N-1, whatever that was. Else as `upgrade`."""
        argv = ["rollback", self._environment.release, str(revision), f"--history-max={HISTORY}"]
        return self._call([*argv, *self._where, _timeout(deadline), *_insisting(insist)], deadline, stop=stop)

    def uninstall(self, deadline: Deadline) -> Finished:
        """Remove a release whose first install never ended; Helm offers no other way out."""
        argv = ["uninstall", self._environment.release, "--ignore-not-found"]
        return self._call([*argv, *self._where, _timeout(deadline)], deadline)

    def test(self, deadline: Deadline, stop: Stop | None = None) -> Finished:
        """Run the chart's tests; `stop`, once true, ends it. Raises Unavailable where they may be run again."""
        argv = ["test", self._environment.release, *self._where, _timeout(deadline), "--logs"]
        done = self._call(argv, deadline, stop=stop)
        if not done.ok and passes(reason(done)):
            raise _not_now(reason(done))
        return done

    def pull(self, name: str, version: str, destination: Path, deadline: Deadline, *, plain_http: bool) -> Path:
        """Fetch an OCI chart into `destination`, and return the archive. A digest in its name takes Helm 3.18."""
        argv = ["pull", name, "--destination", str(destination), *(["--version", version] if version else [])]
        done = self._call([*argv, *(["--plain-http"] if plain_http else [])], deadline, cluster=False)
        archives = list(destination.glob("*.tgz"))
        if not done.ok or len(archives) != 1:
            raise UsageProblem(
                f"the chart {name} cannot be pulled: {reason(done)}", hint="helm registry login, or mend deploy.chart"
            )
        digest = name.partition("@")[2]
        if digest and f"Digest: {digest}" not in (*done.stdout.splitlines(), *done.stderr):
            raise UsageProblem(f"Helm does not say that it has pulled {name}, by its digest",
                               hint="install Helm 3.18 or later")  # fmt: skip
        return archives[0]

    @property
    def _where(self) -> list[str]:
        argv = ["--namespace", self._environment.namespace]
        if self._environment.kubeconfig:
            argv += ["--kubeconfig", str(self._environment.kubeconfig)]
        if self._environment.context:
            argv += ["--kube-context", self._environment.context]
        return argv

    def _call(self, argv: Sequence[str], deadline: Deadline, *, cluster: bool = True,
              stop: Stop | None = None) -> Finished:  # fmt: skip
        quiet = argv[0] in ("template", "get") or "--output=json" in argv
        on_line = None if quiet else self._run.output
        env = {**{key: "" for key in os.environ if key.startswith("HELM_KUBE")}, **_ENV}
        ending = _Ending(self.lease.lost.is_set if self.lease and cluster else _never, stop or _never)
        try:
            done = process.run([self.program, *argv], deadline, env=env, on_line=on_line, stop=ending, hint=_HINT)
        except CdError as problem:
            if ending.lost:
                raise Unavailable(
                    "Helm was stopped, since the cluster could not be reached",
                    hint="run this again when it can: that clears up first",
                ) from problem
            raise
        if not done.ok and not cluster and any(DISK_FULL in line.lower() for line in done.stderr):
            raise disk_full("where Helm keeps its files")
        if not done.ok and cluster and away(reason(done)):
            raise Unavailable(f"Helm could not reach the cluster: {reason(done)}", hint="see that the cluster runs")
        return done


class _Ending:
    """Whether Helm has to end. That it was for its lease is remembered: while Helm dies, the lease may be had again."""

    def __init__(self, lease_lost: Stop, stop: Stop) -> None:
        self._lease_lost, self._stop = lease_lost, stop
        self._fired = False

    def __call__(self) -> bool:
        return self.lost or self._stop()

    @property
    def lost(self) -> bool:
        """Whether the lease was lost meanwhile."""
        self._fired = self._fired or self._lease_lost()
        return self._fired


def _never() -> bool:
    return False


def _not_now(why: str) -> Unavailable:
    return Unavailable(f"the cluster cannot do it just now: {why}", hint="try again, or look at the API server")


def _insisting(insist: bool) -> list[str]:
    return ["--force-conflicts"] if insist else []


def _files(values: Sequence[Path]) -> list[str]:
    return [word for file in values for word in ("--values", str(file))]


def _timeout(deadline: Deadline) -> str:
    return f"--timeout={max(1, int(deadline.left))}s"
