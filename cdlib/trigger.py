"""Who asked for a run, and what for: Zuul's variables as Jenkins jobs know them, Jenkins, or a person."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cdlib.errors import Refused

PUBLISHING_PIPELINES = ("gate", "post")  # also everything that begins with one, as `postmerge`


@dataclass(frozen=True)
class Trigger:
    """Where a run came from. Fields are empty where the trigger has none."""

    source: str  # zuul | jenkins | person
    pipeline: str = ""
    project: str = ""
    change: str = ""
    patchset: str = ""
    commit: str = ""
    ref: str = ""
    build: str = ""
    url: str = ""
    who: str = ""

    @property
    def may_publish(self) -> bool:
        """Whether the pipeline is one that publishes."""
        return self.pipeline.startswith(PUBLISHING_PIPELINES)

    def require_publishing(self, policy: str, doing: str) -> None:
        """Raise Refused where `policy` asks for a publishing pipeline and this is none.

        A guard against accidents: whoever may start a job may type a pipeline's name.
        """
        if policy != "none" and not self.may_publish:
            where = f"the pipeline {self.pipeline!r}" if self.pipeline else "no pipeline"
            raise Refused(
                f"{doing} is refused in {where}: the environment's policy is {policy!r}",
                hint="let Zuul's gate or postmerge pipeline do it, or use an environment whose policy is none",
            )


def read_trigger(environment: Mapping[str, str] | None = None) -> Trigger:
    """The trigger as the environment describes it: ZUUL_* before Jenkins' variables before a person."""
    env = os.environ if environment is None else environment
    if env.get("ZUUL_UUID") or env.get("ZUUL_PIPELINE"):
        return Trigger(
            source="zuul",
            pipeline=env.get("ZUUL_PIPELINE", ""),
            project=env.get("ZUUL_PROJECT", ""),
            change=env.get("ZUUL_CHANGE", ""),
            patchset=env.get("ZUUL_PATCHSET", ""),
            commit=env.get("ZUUL_COMMIT", "") or env.get("ZUUL_NEWREV", ""),
            ref=env.get("ZUUL_REF", ""),
            build=env.get("ZUUL_UUID", ""),
            url=env.get("BUILD_URL", ""),
            who="zuul",
        )
    if env.get("JENKINS_URL") or env.get("BUILD_TAG"):
        return Trigger(
            source="jenkins",
            build=env.get("BUILD_TAG", ""),
            url=env.get("BUILD_URL", ""),
            who=env.get("BUILD_USER_ID", "") or "jenkins",
        )
    return Trigger(source="person", who=env.get("SUDO_USER", "") or env.get("USER", "") or "unknown")
