"""The stand-in for Jenkins behaves as a real one was measured to behave, oddities included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from lab.jenkins.definition import define
from lab.jenkins.elements import Unknown
from lab.jenkins.globs import find
from lab.jenkins.settings import Agent, Credential, Settings, User, read
from lab.jenkins.testing import QUICK, StandIn, freestyle, in_process, wait_for
from lab.jenkins.tree import parse, prune

READER = User("reader", token="r", may=frozenset({"Overall/Read", "Job/Read"}))
BUILDER = User("builder", token="b", may=frozenset({"Overall/Read", "Job/Read", "Job/Build"}))
STRANGER = User("stranger", token="s", may=frozenset({"Overall/Read"}))
NOBODY = User("nobody", token="n", may=frozenset())
SECRETS = (
    Credential("word", "text", text="s3cret-word"),
    Credential("paper", "file", text="s3cret-paper", name="kubeconfig"),
    Credential("pair", "username-password", username="bot", password="s3cret-pass"),
)
SETTINGS = replace(QUICK, users=(*QUICK.users, READER, BUILDER, STRANGER, NOBODY), credentials=SECRETS, minute=0.01)
HANGS = "echo started; sleep 60 & wait"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with in_process(tmp_path / "home", SETTINGS) as stand_in:
        yield stand_in


def started(server: StandIn, name: str, number: int, text: str = "started") -> None:
    wait_for(lambda: f"\n{text}\n" in server.log(name, number))


def test_a_url_has_a_limit_that_a_body_has_not(server: StandIn) -> None:
    server.create("job", freestyle('echo "${#TEXT}"', parameters=["TEXT="]))
    assert server.post(f"job/job/buildWithParameters?TEXT={'x' * 20_000}").status_code == 414
    assert "\n20000\n" in server.log("job", server.build("job", TEXT="x" * 20_000)["number"])


def test_what_a_trigger_refuses(server: StandIn) -> None:
    server.create("plain", freestyle("true"))
    server.create("with", freestyle("true", parameters=["A=1", "B=true", "C=x|y"]))
    assert server.post("job/with/build").status_code == 400
    assert server.post("job/plain/buildWithParameters").status_code == 500
    assert server.post("job/with/buildWithParameters", {"C": "z"}).status_code == 500
    assert server.post("job/none/build").status_code == 404
    assert server.get("job/plain/build").status_code == 405
    server.post("job/plain/disable")
    assert server.post("job/plain/build").status_code == 409
    assert server.json("job/plain")["buildable"] is False
    server.post("job/plain/enable")
    assert server.post("job/plain/build").status_code == 201


def test_undeclared_parameters_vanish_and_bad_booleans_become_false(server: StandIn) -> None:
    script = 'echo "A=$A B=$B C=$C D=${D-unset}"'
    server.create("job", freestyle(script, parameters=["A=1", "B=true", "C=x|y"]))
    build = server.build("job", B="nonsense", D="dropped")
    assert "\nA=1 B=false C=x D=unset\n" in server.log("job", build["number"])
    values = {p["name"]: p["value"] for a in build["actions"] for p in a.get("parameters", ())}
    assert values == {"A": "1", "B": False, "C": "x"}


def test_identical_triggers_share_an_item_while_one_waits(server: StandIn) -> None:
    server.create("with", freestyle(HANGS, parameters=["A="], label="two"))
    server.create("plain", freestyle(HANGS, label="two"))
    server.create("busy", freestyle(HANGS, label="two"))
    busy = server.number(server.trigger("busy"))
    first, second, other = (server.trigger("with", A=value) for value in ("1", "1", "2"))
    assert (first.status_code, second.status_code, other.status_code) == (201, 303, 201)
    assert first.headers["Location"] == second.headers["Location"] != other.headers["Location"]
    third, fourth = server.trigger("plain"), server.trigger("plain")
    assert third.status_code == fourth.status_code == 201 and third.headers["Location"] == fourth.headers["Location"]
    server.post(f"job/busy/{busy}/stop")


def test_delay_skips_the_quiet_period(tmp_path: Path) -> None:
    with in_process(tmp_path, replace(SETTINGS, quiet_period=60)) as server:
        server.create("job", freestyle("true"))
        waiting = server.post("job/job/build")
        item = server.json(waiting.headers["Location"].removeprefix(server.url).rstrip("/"))
        assert item["_class"].endswith("$WaitingItem") and "quiet period" in item["why"]
        assert server.post("job/job/build?delay=1sec").headers["Location"] == waiting.headers["Location"]
        server.post(f"queue/cancelItem?id={item['id']}")
        assert server.build("job")["result"] == "SUCCESS"


def test_an_item_says_why_it_waits(server: StandIn) -> None:
    server.create("alone", freestyle(HANGS, label="one"))
    server.create("nowhere", freestyle("true", label="none-such"))
    server.create("narrow", freestyle(HANGS, label="two", concurrent=True, parameters=["A="]))
    numbers = [server.number(server.trigger("alone")), server.number(server.trigger("narrow"))]
    items = [server.trigger("alone"), server.trigger("nowhere"), server.trigger("narrow", A="x")]
    paths = [answer.headers["Location"].removeprefix(server.url).rstrip("/") for answer in items]
    wait_for(lambda: all("quiet" not in server.json(path)["why"] for path in paths))
    blocked, missing, full = (server.json(path) for path in paths)
    assert blocked["_class"].endswith("$BlockedItem") and "#1 is already in progress" in blocked["why"]
    assert missing["_class"].endswith("$BuildableItem") and missing["stuck"] and "none-such" in missing["why"]
    assert full["buildable"] and not full["stuck"] and "next available executor" in full["why"]
    server.post("quietDown")
    server.create("late", freestyle("true"))
    path = server.trigger("late").headers["Location"].removeprefix(server.url).rstrip("/")
    assert "shut down" in wait_for(lambda: (why := server.json(path)["why"]) and "shut" in why and why)
    server.post("cancelQuietDown")
    wait_for(lambda: server.json(path).get("executable"))
    for name, number in zip(("alone", "narrow"), numbers, strict=True):
        server.post(f"job/{name}/{number}/stop")


def test_an_item_leaves_and_is_forgotten(tmp_path: Path) -> None:
    with in_process(tmp_path, replace(SETTINGS, queue_memory=0.2)) as server:
        server.create("job", freestyle("true", parameters=["CD_REQUEST="]))
        answer = server.trigger("job", CD_REQUEST="mine")
        path = answer.headers["Location"].removeprefix(server.url) + "api/json"
        number = server.number(answer)
        assert server.get(path).json()["_class"].endswith("$LeftItem")
        wait_for(lambda: server.get(path).status_code == 404)
        tree = "builds[number,queueId,actions[parameters[name,value]]]"
        (build,) = server.json("job/job", tree)["builds"]
        assert build["number"] == number and set(build) == {"_class", "number", "queueId", "actions"}


def test_a_queued_item_is_cancelled_once(server: StandIn) -> None:
    server.create("job", freestyle("true", label="none-such"))
    item = server.trigger("job").headers["Location"].removeprefix(server.url).rstrip("/")
    number = server.json(item)["id"]
    assert server.as_user(BUILDER).post(f"queue/cancelItem?id={number}").status_code == 422
    assert server.post(f"queue/cancelItem?id={number}").status_code == 204
    left = server.json(item)
    assert left["cancelled"] is True and left["executable"] is None
    assert server.post(f"queue/cancelItem?id={number}").status_code == 500
    assert server.post("queue/cancelItem?id=999").status_code == 404


def test_the_log_goes_on_by_its_offset_only(server: StandIn) -> None:
    server.create("job", freestyle("set +x; printf 'ä\\nb\\n'; printf '\\033[31mred\\033[0m\\n'; " + HANGS))
    number = server.number(server.trigger("job"))
    started(server, "job", number)
    path = f"job/job/{number}/logText/progressiveText"
    first = server.get(path, start="0")
    size = int(first.headers["X-Text-Size"])
    assert first.headers["X-More-Data"] == "true"
    assert b"\r\nb\r\n" in first.content and b"\x1b[31mred" in first.content
    assert len(first.content) > size and len(first.content.replace(b"\r\n", b"\n")) == size
    nothing = server.get(path, start=str(size))
    assert nothing.content == b"" and nothing.headers["X-Text-Size"] == str(size)
    assert server.get(path, start=str(size + 999)).content == first.content
    server.post(f"job/job/{number}/stop")
    server.ended("job", number)
    last = server.get(path, start=str(size))
    assert "X-More-Data" not in last.headers and last.content.endswith(b"Finished: ABORTED\r\n")


def test_a_result_comes_before_the_end_of_the_log(tmp_path: Path) -> None:
    with in_process(tmp_path, replace(SETTINGS, ending=0.5)) as server:
        server.create("job", freestyle("true"))
        number = server.number(server.trigger("job"))
        build = wait_for(lambda: (b := server.json(f"job/job/{number}"))["result"] and b)
        assert build["result"] == "SUCCESS" and not build["building"] and build["inProgress"]
        assert "Finished" not in server.log("job", number)
        server.ended("job", number)
        assert server.log("job", number).endswith("Finished: SUCCESS\n")


@pytest.mark.parametrize(
    ("script", "least"), [(HANGS, 0.0), ("trap '' TERM; echo started; while :; do sleep 0.1; done", 0.5)]
)
def test_a_stop_takes_its_time(tmp_path: Path, script: str, least: float) -> None:
    with in_process(tmp_path, replace(SETTINGS, kill_after=0.5)) as server:
        server.create("job", freestyle(script))
        number = server.number(server.trigger("job"))
        started(server, "job", number)
        path, begun = f"job/job/{number}/stop", time.monotonic()
        assert server.get(path).status_code == 405
        assert server.post(path).status_code == 302
        assert server.ended("job", number)["result"] == "ABORTED"
        assert time.monotonic() - begun >= least
        assert "Aborted by admin" in server.log("job", number)
        assert server.post(path).status_code == 302
        assert server.post("job/job/999/stop").status_code == 404


def test_rights_are_told_apart(server: StandIn) -> None:
    server.create("job", freestyle(HANGS))
    number = server.number(server.trigger("job"))
    stop = f"job/job/{number}/stop"
    wrong = replace(BUILDER, token="wrong")
    assert server.as_user(wrong).get("api/json").status_code == 401
    refused = server.as_user(READER).post("job/job/build")
    assert refused.status_code == 403 and refused.headers["X-Required-Permission"] == "hudson.model.Item.Build"
    builder = server.as_user(BUILDER)
    assert builder.post("job/job/build?delay=0sec").status_code == 201
    refused = builder.post(stop)
    assert refused.status_code == 403 and refused.headers["X-Required-Permission"] == "hudson.model.Item.Cancel"
    assert builder.post("createItem?name=x", freestyle("true")).status_code == 403
    assert server.as_user(STRANGER).get("job/job/api/json").status_code == 404
    assert server.as_user(NOBODY).get("api/json").status_code == 403
    anonymous = requests.get(server.url + "login", timeout=5)
    assert anonymous.status_code == 200 and requests.get(server.url + "api/json", timeout=5).status_code == 403
    server.post(stop)


def test_a_token_needs_no_crumb_and_a_password_needs_the_sessions(server: StandIn) -> None:
    server.create("job", freestyle("true"))
    by_password = server.as_user(server.user, password=True)
    assert "crumb" in by_password.post("job/job/build").text
    crumb = by_password.json("crumbIssuer")
    header = {crumb["crumbRequestField"]: crumb["crumb"]}
    assert by_password.post("job/job/build", **header).status_code == 201
    by_password.session.cookies.clear()
    assert by_password.post("job/job/build", **header).status_code == 403
    assert server.post("job/job/build").status_code == 201


def test_every_answer_names_the_servers_life(server: StandIn, tmp_path: Path) -> None:
    with in_process(tmp_path / "other", replace(SETTINGS, starting=0.3)) as other:
        starting = other.get("api/json")
        assert starting.status_code == 503 and "getting ready" in starting.text
        wait_for(lambda: other.get("api/json").status_code == 200)
        assert starting.headers["X-Jenkins-Session"] != server.get("api/json").headers["X-Jenkins-Session"]


def test_a_failing_step_ends_the_build(server: StandIn) -> None:
    server.create("job", freestyle("echo one; false; echo two", "echo three"))
    number = server.build("job")["number"]
    log = server.log("job", number)
    assert "+ false\nBuild step 'Execute shell' marked build as failure\n" in log and log.endswith(
        "Finished: FAILURE\n"
    )
    assert "two" not in log and "three" not in log


def test_what_a_build_finds_in_its_environment(server: StandIn) -> None:
    server.create(
        "job", freestyle("env; pwd; echo oops >&2", "#!/bin/sh\necho plain $0", parameters=["P=it's $HOME `x`"])
    )
    log = server.log("job", server.build("job")["number"])
    for line in ("P=it's $HOME `x`", "JOB_NAME=job", "BUILD_NUMBER=1", f"BUILD_URL={server.url}job/job/1/", "NODE_NAME=one",
                 f"WORKSPACE={server.home}/agents/one/workspace/job", "BUILD_TAG=jenkins-job-1"):  # fmt: skip
        assert f"\n{line}\n" in log, log
    assert f"\n{server.home}/agents/one/workspace/job\n" in log and "\n+ echo oops\noops\n" in log
    assert "\nplain /" in log and "+ echo plain" not in log


def test_builds_beside_each_other_have_folders_of_their_own(server: StandIn) -> None:
    server.create("job", freestyle(f"pwd; {HANGS}", concurrent=True, parameters=["A="]))
    numbers = [server.number(server.trigger("job", A=str(n))) for n in range(2)]
    for number in numbers:
        started(server, "job", number)
    logs = [server.log("job", number) for number in numbers]
    assert "/workspace/job\n" in logs[0] and "/workspace/job@2\n" in logs[1]
    for number in numbers:
        server.post(f"job/job/{number}/stop")


BINDINGS = """<org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper><bindings>
<org.jenkinsci.plugins.credentialsbinding.impl.StringBinding><credentialsId>word</credentialsId><variable>W</variable>
</org.jenkinsci.plugins.credentialsbinding.impl.StringBinding>
<org.jenkinsci.plugins.credentialsbinding.impl.FileBinding><credentialsId>paper</credentialsId><variable>F</variable>
</org.jenkinsci.plugins.credentialsbinding.impl.FileBinding>
<org.jenkinsci.plugins.credentialsbinding.impl.UsernamePasswordMultiBinding><credentialsId>pair</credentialsId>
<usernameVariable>U</usernameVariable><passwordVariable>P</passwordVariable>
</org.jenkinsci.plugins.credentialsbinding.impl.UsernamePasswordMultiBinding>
</bindings></org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper>"""


def test_credentials_are_bound_and_hidden(server: StandIn) -> None:
    script = 'set +x; echo "$W $U $P" > got; cat "$F" >> got; stat -c %a "$F" >> got; echo "$F" > where; cat got'
    archive = "<hudson.tasks.ArtifactArchiver><artifacts>got,where</artifacts></hudson.tasks.ArtifactArchiver>"
    server.create("job", freestyle(script, more={"buildWrappers": BINDINGS, "publishers": archive}))
    number = server.build("job")["number"]
    assert server.get(f"job/job/{number}/artifact/got").text == "s3cret-word bot s3cret-pass\ns3cret-paper600\n"
    assert "s3cret-word" not in server.log("job", number) and "**** bot ****" in server.log("job", number)
    assert not Path(server.get(f"job/job/{number}/artifact/where").text.strip()).exists()
    server.create("bad", freestyle("true", more={"buildWrappers": BINDINGS.replace("word<", "none<")}))
    bad = server.build("bad")
    assert bad["result"] == "FAILURE" and "entry with ID 'none'" in server.log("bad", bad["number"])


TIMEOUT = """<hudson.plugins.build__timeout.BuildTimeoutWrapper>
<strategy class="hudson.plugins.build_timeout.impl.AbsoluteTimeOutStrategy"><timeoutMinutes>3</timeoutMinutes></strategy>
<operationList><hudson.plugins.build__timeout.operations.AbortOperation/></operationList>
</hudson.plugins.build__timeout.BuildTimeoutWrapper>"""


@pytest.mark.parametrize(("kind", "result"), [("Abort", "ABORTED"), ("Fail", "FAILURE")])
def test_a_time_limit_ends_a_build(server: StandIn, kind: str, result: str) -> None:
    server.create("job", freestyle(HANGS, more={"buildWrappers": TIMEOUT.replace("AbortO", kind + "O")}))
    build = server.build("job")
    assert build["result"] == result and "timed out (after 3 minutes)" in server.log("job", build["number"])


PUBLISHERS = """<hudson.tasks.ArtifactArchiver><artifacts>.cd/**, *.txt</artifacts><excludes>no.txt</excludes>
<allowEmptyArchive>{empty}</allowEmptyArchive></hudson.tasks.ArtifactArchiver>
<hudson.tasks.junit.JUnitResultArchiver><testResults>r/*.xml</testResults><allowEmptyResults>{empty}</allowEmptyResults>
</hudson.tasks.junit.JUnitResultArchiver>"""
REPORT = '<testsuite name="s"><testcase classname="c" name="good"/><testcase name="bad"><failure message="because"/></testcase></testsuite>'


def test_files_and_reports_are_kept(server: StandIn) -> None:
    script = f"mkdir -p .cd/deep r; echo 1 > .cd/deep/a; echo 2 > b.txt; echo 3 > no.txt; echo '{REPORT}' > r/x.xml; ln -s b.txt l.txt"
    server.create("job", freestyle(script, more={"publishers": PUBLISHERS.format(empty="false")}))
    build = server.build("job")
    assert build["result"] == "UNSTABLE" and [a["relativePath"] for a in build["artifacts"]] == [".cd/deep/a", "b.txt"]
    report = server.json("job/job/1/testReport")
    assert (report["failCount"], report["passCount"]) == (1, 1)
    assert [c["errorDetails"] for s in report["suites"] for c in s["cases"]] == [None, "because"]
    assert server.get("job/job/1/artifact/b.txt").text == "2\n"
    assert server.get("job/job/1/artifact/none").status_code == 404
    assert server.get("job/job/1/artifact/../build.json").status_code == 404
    kept = server.get("job/job/1/artifact/b.txt").headers
    assert kept["Content-Type"] == "text/plain"
    assert kept["Content-Security-Policy"] == "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"
    server.create("job", freestyle("true", more={"publishers": PUBLISHERS.format(empty="false")}))
    server.create("bare", freestyle("true", more={"publishers": PUBLISHERS.format(empty="true")}))
    assert server.build("bare")["result"] == "SUCCESS"
    assert server.get("job/bare/1/testReport/api/json").status_code == 404
    server.create("empty", freestyle("true", more={"publishers": PUBLISHERS.format(empty="false")}))
    assert server.build("empty")["result"] == "FAILURE"


def test_old_builds_go_and_the_last_good_one_stays(server: StandIn) -> None:
    discarder = """<jenkins.model.BuildDiscarderProperty><strategy class="hudson.tasks.LogRotator"><daysToKeep>-1</daysToKeep>
    <numToKeep>2</numToKeep></strategy></jenkins.model.BuildDiscarderProperty>"""
    server.create("job", freestyle('test "$A" = ok', parameters=["A=no"], more={"properties": discarder}))
    server.build("job", A="ok")
    for _ in range(3):
        server.build("job")
    wait_for(lambda: [b["number"] for b in server.json("job/job")["builds"]] == [4, 3, 1])


def test_a_password_parameter_has_no_value(server: StandIn) -> None:
    server.create("job", freestyle('echo "${#P}"', parameters=["P!"]))
    build = server.build("job", P="secret")
    assert "\n6\n" in server.log("job", build["number"])
    (value,) = (p for a in build["actions"] for p in a.get("parameters", ()))
    assert value["name"] == "P" and "value" not in value


def test_what_nobody_knows_is_refused(server: StandIn) -> None:
    for bad in (freestyle("true", more={"publishers": "<hudson.plugins.emailext.ExtendedEmailPublisher/>"}),
                freestyle("true", more={"nonsense": ""}), b"<flow-definition/>", b"no xml",
                freestyle("true", more={"triggers": "<hudson.triggers.TimerTrigger/>"}),
                freestyle("true", more={"scm": "<x/>"})):  # fmt: skip
        assert server.post("createItem?name=bad", bad).status_code == 500, bad
        assert server.get("job/bad/api/json").status_code == 404
    server.create("job", freestyle("true"))
    assert server.post("job/job/config.xml", b"<project><x/></project>").status_code == 500
    assert server.build("job")["result"] == "SUCCESS"
    assert server.post("createItem?name=job", freestyle("true")).status_code == 400
    assert server.post("createItem?name=../x", freestyle("true")).status_code == 400
    with pytest.raises(Unknown, match="/project/buildWrappers/x"):
        define(freestyle("true", more={"buildWrappers": "<x/>"}))
    assert server.get("job/job/config.xml").text.startswith("<?xml version='1.1'")
    assert server.post("job/job/config.xml", server.get("job/job/config.xml").content).status_code == 200


def test_trees(server: StandIn) -> None:
    document = {"_class": "X", "a": 1, "b": [{"n": 1, "m": 2}, {"n": 2}], "c": {"_class": "Y", "d": 1}}
    assert prune(document, parse("a,b[n]{0,1}")) == {"_class": "X", "a": 1, "b": [{"n": 1}]}
    assert prune(document, parse("c")) == {"_class": "X", "c": {"_class": "Y"}}
    assert prune(document, parse("b[*]{1}")) == {"_class": "X", "b": [{"n": 2}]}
    assert server.get("api/json", tree="a[").status_code == 400


def test_patterns_of_files(tmp_path: Path) -> None:
    for path in ("a.xml", "d/a.xml", "d/e/b.xml", ".cd/x", ".cd/deep/y"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert find(tmp_path, "**/*.xml") == ["a.xml", "d/a.xml", "d/e/b.xml"]
    assert find(tmp_path, "*.xml") == ["a.xml"] and find(tmp_path, "d/") == ["d/a.xml", "d/e/b.xml"]
    assert find(tmp_path, ".cd/**") == [".cd/deep/y", ".cd/x"] and find(tmp_path, "?.xml,.cd/x", "a*") == [".cd/x"]


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    first = read(tmp_path, None)
    assert first == read(tmp_path, None) and len(first.users[0].token) == 32
    (tmp_path / "env").write_text("# of the agent\nPATH=/x:/y\nEMPTY=\n\n")
    (tmp_path / "lab.yaml").write_text(
        "agents: [{name: a, labels: [l], executors: 3, env_file: env, env: {B: 1}}]\n"
        "users: [{name: u, token: t, may: [Job/Read]}]\nminute: 2\nenvironment: {X: y}\n"
    )
    found = read(tmp_path, None)
    assert found.agents == (Agent("a", frozenset({"l"}), 3, {"PATH": "/x:/y", "EMPTY": "", "B": "1"}),)
    assert found.users == (User("u", token="t", may=frozenset({"Job/Read"})),)
    assert (found.minute, found.environment) == (2, {"X": "y"}) and isinstance(found, Settings)
