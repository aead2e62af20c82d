"""Who we are to an API server: a token, a password, or what a credential plugin says."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, UsageProblem

PLUGIN = 60.0  # seconds that a credential plugin may take
_EARLY = timedelta(seconds=30)  # a credential is asked for again this long before it expires
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass
class Credentials:
    """The Authorization header of each request, at the time of the request. Threads may share one.

    `on_certificate` gets certificate and key (PEM) where a plugin gives those in place of a token.
    """

    token: str = field(default="", repr=False)
    token_file: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    plugin: Mapping[str, Any] | None = None
    folder: Path = Path()
    on_certificate: Callable[[bytes, bytes], None] = lambda _certificate, _key: None
    hide: Callable[[Iterable[str]], None] = lambda _secrets: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._expires: datetime | None = None
        self._asked = False

    @classmethod
    def of_user(
        cls, user: Mapping[str, Any], folder: Path, on_certificate: Callable[[bytes, bytes], None]
    ) -> Credentials:
        """What a kubeconfig's user says; `folder` is where its paths start. Raises UsageProblem, ValueError."""
        if user.get("auth-provider"):
            raise UsageProblem(
                "the kubeconfig uses an auth-provider, which Kubernetes has dropped", hint="use its exec plugin instead"
            )
        plugin = user.get("exec")
        if plugin is not None and (not isinstance(plugin, dict) or plugin.get("apiVersion") not in _VERSIONS):
            raise ValueError(f"its exec plugin must speak {' or '.join(_VERSIONS)}")
        file = user.get("tokenFile")
        return cls(
            token=str(user.get("token") or ""),
            token_file=folder / str(file) if file else None,
            user=str(user.get("username") or ""),
            password=str(user.get("password") or ""),
            plugin=plugin,
            folder=folder,
            on_certificate=on_certificate,
        )

    def headers(self, deadline: Deadline) -> dict[str, str]:
        """The headers that say who we are; none where a client certificate does."""
        if self.token_file is not None:
            try:  # kubelets and vaults renew it in place
                self.token = self.token_file.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as problem:
                raise UsageProblem(
                    f"the token file {self.token_file} cannot be read: {problem}",
                    hint="check it, and the kubeconfig that names it",
                ) from problem
        elif self.plugin is not None:
            with self._lock:
                self._ask_plugin(deadline)
        if self.user:
            self.hide([self.password])
            both = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {both}"}
        if self.token:
            self.hide([self.token])
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def renew(self) -> bool:
        """Forget what may have been revoked, after a 401; False where the same would be said again."""
        renewable = self.plugin is not None and self._asked
        self._asked = False
        return renewable

    def _ask_plugin(self, deadline: Deadline) -> None:
        if self._asked and (self._expires is None or datetime.now(UTC) < self._expires - _EARLY):
            return
        assert self.plugin is not None
        status = self._answer(self.plugin, deadline)
        self._asked, self._expires = True, _time(status.get("expirationTimestamp"))
        self.token = str(status.get("token") or "")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if certificate and key:
            self.hide([str(key)])
            self.on_certificate(str(certificate).encode(), str(key).encode())

    def _answer(self, plugin: Mapping[str, Any], deadline: Deadline) -> Mapping[str, Any]:
        """What the plugin prints, an ExecCredential. Raises NotAllowed where it fails."""
        command = str(plugin.get("command", ""))
        if os.sep in command:
            command = str(self.folder / command)
        asked = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
        env = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or []}
        env["KUBERNETES_EXEC_INFO"] = json.dumps(asked)
        hint = str(plugin.get("installHint") or "log in again, or mend the exec plugin of the kubeconfig")
        argv = [command, *(str(word) for word in plugin.get("args") or [])]
        done = process.run(argv, deadline.part(PLUGIN, "the credential plugin"), env=env, hint=hint)
        try:
            status = json.loads(done.stdout)["status"] if done.ok else None
        except (ValueError, LookupError, TypeError, RecursionError):
            status = None
        if not isinstance(status, dict):
            why = next((line for line in reversed(done.stderr) if line.strip()), f"status {done.returncode}")
            raise NotAllowed(f"the credential plugin {command} gives no credential: {why}", hint=hint)
        return status


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
