"""Who asked, and whether they may publish."""

from __future__ import annotations

import pytest

from cdlib.errors import Refused
from cdlib.trigger import Trigger, read_trigger

ZUUL = {"ZUUL_UUID": "u1", "ZUUL_PIPELINE": "gate", "ZUUL_PROJECT": "hello", "ZUUL_CHANGE": "12", "ZUUL_PATCHSET": "3",
        "ZUUL_COMMIT": "c0ffee", "ZUUL_REF": "refs/zuul/master/Z1", "BUILD_URL": "http://ci/1"}  # fmt: skip


def test_zuul_before_jenkins_before_a_person() -> None:
    zuul = read_trigger({**ZUUL, "JENKINS_URL": "http://ci/", "USER": "me"})
    assert (zuul.source, zuul.pipeline, zuul.change, zuul.commit, zuul.build) == ("zuul", "gate", "12", "c0ffee", "u1")
    assert read_trigger({"ZUUL_PIPELINE": "post", "ZUUL_NEWREV": "abc"}).commit == "abc"
    jenkins = read_trigger({"JENKINS_URL": "http://ci/", "BUILD_TAG": "jenkins-x-1", "BUILD_USER_ID": "ana"})
    assert (jenkins.source, jenkins.build, jenkins.who) == ("jenkins", "jenkins-x-1", "ana")
    assert read_trigger({"SUDO_USER": "ana", "USER": "root"}) == Trigger("person", who="ana")
    assert read_trigger({}).who == "unknown"


@pytest.mark.parametrize(("pipeline", "may"), [("gate", True), ("post", True), ("postmerge", True), ("check", False),
                                               ("", False), ("my-gate", False)])  # fmt: skip
def test_only_some_pipelines_publish(pipeline: str, may: bool) -> None:
    trigger = Trigger("zuul", pipeline=pipeline)
    trigger.require_publishing("none", "publishing")
    if may:
        trigger.require_publishing("signed", "publishing")
        return
    with pytest.raises(Refused, match="publishing is refused") as caught:
        trigger.require_publishing("reviewed", "publishing")
    assert caught.value.exit_code == 6
