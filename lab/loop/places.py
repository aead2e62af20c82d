"""Where the loop's servers listen, and where each keeps what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.layout import LOOPBACK, Layout

GERRIT_PORT = 8080
GERRIT_SSH_PORT = 29418
GIT_PORT = 9418
JENKINS_PORT = 8090
LOGS_PORT = 8091
ZOOKEEPER_PORT = 2281
ZUUL_PORT = 9000
FINGER_PORT = 7900
NODE_PORT = 2022
SCHEDULER_HEALTH_PORT = 9091
EXECUTOR_HEALTH_PORT = 9092
LAUNCHER_HEALTH_PORT = 9093

GERRIT_URL = f"http://{LOOPBACK}:{GERRIT_PORT}"
GIT_URL = f"git://{LOOPBACK}:{GIT_PORT}"
JENKINS_URL = f"http://{LOOPBACK}:{JENKINS_PORT}"
LOGS_URL = f"http://{LOOPBACK}:{LOGS_PORT}"
ZUUL_URL = f"http://{LOOPBACK}:{ZUUL_PORT}"

TENANT = "lab"
CONNECTION = "gerrit"  # Zuul's name for the Gerrit server
HOSTNAME = "review.example.org"  # as Zuul writes it in a project's full name
CONFIG_PROJECT = "zuul-config"
SERVICES = ("hello", "blubberoid")
PRODUCTION = "production"  # the environment that Jenkins deploys to, whose policy is `signed`
NODES = "nodes"  # that of services without Jenkins: on Zuul's nodes nobody decides apart from who deploys
LABELS = ("cd-build", "cd-deploy")  # of Zuul's nodes
# In the order in which `status` shows them.
NAMES = (
    "gerrit",
    "zookeeper",
    "zuul-scheduler",
    "zuul-executor",
    "zuul-launcher",
    "zuul-web",
    "node",
    "git-server",
    "log-server",
    "jenkins",
    "tokens",
)
# What gets time to end when the lab goes down. Zuul's parts first: where one did not say good-bye to ZooKeeper, the
# next of its kind waits until ZooKeeper has given the old one up.
CLIENTS = ("zuul-scheduler", "zuul-executor", "zuul-launcher", "zuul-web")
STORES = ("gerrit", "zookeeper", "jenkins")
# The job that waits until Zuul hears of what happens in Gerrit, and what it comes after.
EVENTS = "zuul-events"
EVENTS_AFTER = ("gerrit", "zookeeper", "zuul-scheduler")
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """The loop's folders and files below LAB_ROOT."""

    layout: Layout

    @property
    def gerrit(self) -> Path:
        """Gerrit's site: repositories, accounts, index."""
        return self.layout.data / "gerrit"

    @property
    def zookeeper(self) -> Path:
        """ZooKeeper's data: Zuul's queues, and the keys of its projects."""
        return self.layout.data / "zookeeper"

    @property
    def zuul(self) -> Path:
        """Zuul's state: its database and git caches."""
        return self.layout.data / "zuul"

    @property
    def repositories(self) -> Path:
        """What the git server serves."""
        return self.layout.data / "git-server"

    @property
    def job_logs(self) -> Path:
        """What Zuul's jobs leave behind, one folder a build."""
        return self.layout.data / "zuul-logs"

    @property
    def jenkins(self) -> Path:
        """Jenkins' home."""
        return self.layout.data / "jenkins"

    @property
    def config(self) -> Path:
        """Configuration files, written afresh by each `up`."""
        return self.layout.config / "loop"

    @property
    def keys(self) -> Path:
        """Certificates, ssh keys and passwords."""
        return self.layout.pki / "loop"

    @property
    def run(self) -> Path:
        """Sockets."""
        return self.layout.run / "zuul"

    @property
    def builds(self) -> Path:
        """Where Zuul's jobs work. A short path: ssh makes sockets in there, whose names end at 107 characters."""
        return self.layout.run / "builds"

    @property
    def tenants(self) -> Path:
        """Which projects Zuul works for."""
        return self.config / "tenants.json"

    @property
    def targets(self) -> Path:
        """The operators' file, as Jenkins' agents have it."""
        return self.config / "targets.json"

    @property
    def mirrors(self) -> Path:
        """The authorizer's mirrors of Gerrit's projects. They go with Gerrit, whose records they witness."""
        return self.gerrit / "mirrors"

    @property
    def audit(self) -> Path:
        """The audit records, one an agent."""
        return self.layout.data / "audit"

    @property
    def accounts(self) -> Path:
        """Kubeconfigs and tokens of the accounts in the cluster."""
        return self.config / "accounts"

    @property
    def jenkins_token(self) -> Path:
        """The API token of Jenkins' administrator."""
        return self.keys / "jenkins-token"

    @property
    def zuul_conf(self) -> Path:
        """The configuration of all parts of Zuul."""
        return self.config / "zuul.conf"

    def ssh_key(self, user: str) -> Path:
        """The private ssh key of a Gerrit account."""
        return self.keys / user

    def signing_key(self, name: str) -> Path:
        """The private key, a PEM, by which a job signs."""
        return self.keys / f"sign-{name}.pem"

    def socket(self, part: str) -> Path:
        """Where the scheduler, the executor or the web server of Zuul takes commands."""
        return self.run / f"{part}.socket"

    def settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables that the loop adds or sets otherwise: where its servers are, and all of its services.

        A Jenkins that is given has its variables already.
        """
        own = {"JENKINS_URL": JENKINS_URL, "JENKINS_USER": "admin", "JENKINS_TOKEN_FILE": str(self.jenkins_token)}
        always = {"CD_TARGETS": str(self.targets), "GERRIT_URL": GERRIT_URL, "ZUUL_WEB_URL": ZUUL_URL}
        return always if "jenkins" in given else {**always, **own}
