"""The accounts that `cd-rights` makes, in a real cluster, and commands that use them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml
from deployments import Deployment
from planted import plant

DURATION = "20m"


@dataclass(frozen=True)
class Accounts:
    """The accounts of a service's environment `test`, their kubeconfigs in `folder`."""

    web: Deployment
    folder: Path
    namespace: str

    @classmethod
    def create(cls, web: Deployment, folder: Path, *images: str) -> Accounts:
        """Apply what cd-rights prints, as an administrator, and get each account a token that soon ends."""
        made = cls(web, folder, f"{web.namespace}-accounts")
        beside = [word for image in images for word in ("--image", image)]
        argv = [*web.argv("cd-rights", "--accounts", made.namespace, *beside)]
        argv.remove("--json")
        done = subprocess.run(argv, env=dict(web.env), check=True, capture_output=True, text=True)
        subprocess.run(["kubectl", "apply", "-f", "-"], env=dict(web.env), check=True, input=done.stdout, text=True,
                       capture_output=True)  # fmt: skip
        for who in ("deploy", "authorize", "status"):
            made.kubeconfig(who).write_text(json.dumps(made._config(who)), encoding="utf-8")
        return made

    def kubeconfig(self, who: str) -> Path:
        """The kubeconfig of an account."""
        return self.folder / f"{who}.kubeconfig"

    @property
    def current(self) -> Path:
        """The one that targets.yaml names: the same on all agents, as the permit's digest of the policy wants it."""
        return self.folder / "current.kubeconfig"

    def act_as(self, who: str) -> None:
        """Let the commands that follow have this account and no other."""
        self.current.write_bytes(self.kubeconfig(who).read_bytes())
        self.web.targets["environments"]["test"]["kubeconfig"] = str(self.current)
        self.web.write_targets()

    def kubectl(self, who: str, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What kubectl does as an account; it may fail."""
        argv = ["kubectl", "--kubeconfig", str(self.kubeconfig(who)), *args]
        return subprocess.run(argv, env=dict(self.web.env), input=stdin, capture_output=True, text=True, timeout=60)

    def remove(self) -> None:
        """Take away what no namespace takes along."""
        name = f"cd-images-{self.web.namespace}"
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            self.web.kubectl("delete", kind, name, "--ignore-not-found")
        self.web.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def _config(self, who: str) -> dict[str, object]:
        """The administrator's kubeconfig with a token of the account in place of the credentials."""
        admin = yaml.safe_load(Path(self.web.env["KUBECONFIG"]).read_text(encoding="utf-8"))
        current = next(c["context"] for c in admin["contexts"] if c["name"] == admin["current-context"])
        (cluster,) = [c for c in admin["clusters"] if c["name"] == current["cluster"]]
        token = self.web.kubectl("-n", self.namespace, "create", "token", f"cd-{who}-test", "--duration", DURATION)
        plant(f"the token of cd-{who}", token, self.kubeconfig(who), self.current)
        return {"apiVersion": "v1", "kind": "Config", "current-context": who, "clusters": [cluster],
                "users": [{"name": who, "user": {"token": token.strip()}}],
                "contexts": [{"name": who, "context": {"cluster": cluster["name"], "user": who}}]}  # fmt: skip
