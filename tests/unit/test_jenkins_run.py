"""jenkins-run against the stand-in, line by line of what was measured of a real Jenkins."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from planted import plant
from stand_ins import Fault, Seen, Server

from cdlib.deadline import Deadline
from cdlib.documents import schema_mistakes
from cdlib.errors import (
    BuildFailed,
    BuildLost,
    CdError,
    Interrupted,
    NotAllowed,
    OutOfTime,
    TestsFailed,
    Unavailable,
    UsageProblem,
)
from cdlib.interruptions import INTERRUPTIONS
from cdlib.jenkins import abort, artifacts, follow, http, jobs, trigger, verdict
from cdlib.jenkins.builds import Build
from cdlib.jenkins.request import read_parameters
from cdlib.jenkins.session import Ended, Wish, abort_job, run_job
from cdlib.run import Run
from jobs import jenkins_run
from lab.jenkins.settings import User
from lab.jenkins.testing import QUICK, StandIn, freestyle, in_process, wait_for

HANGS = "echo started; sleep 60 & wait"
ARCHIVE = "<hudson.tasks.ArtifactArchiver><artifacts>**</artifacts><allowEmptyArchive>true</allowEmptyArchive></hudson.tasks.ArtifactArchiver>"
BUILDER = User(
    "builder",
    password="builder-password",
    token="builder-token",
    may=frozenset({"Overall/Read", "Job/Read", "Job/Build"}),
)
STRANGER = User("stranger", token="stranger-token", may=frozenset({"Overall/Read"}))
READER = User("reader", token="reader-token", may=frozenset({"Overall/Read", "Job/Read"}))
SETTINGS = replace(QUICK, users=(*QUICK.users, BUILDER, STRANGER, READER))


@pytest.fixture(autouse=True)
def _secrets() -> None:
    for user in SETTINGS.users:
        plant(f"{user.name}'s token", user.token)
        plant(f"{user.name}'s password", user.password)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is near, and never busy."""
    for module, name in ((abort, "WAIT"), (follow, "FIRST_WAIT"), (follow, "LONGEST_WAIT"), (trigger, "LONGEST_WAIT")):
        monkeypatch.setattr(module, name, 0.03)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with in_process(tmp_path / "home", SETTINGS) as stand_in:
        yield stand_in


class Client:
    """A run of ours, and what it told."""

    def __init__(self, out: Path, url: str, user: User = QUICK.users[0], *, password: bool = False, timeout: float = 30,
                 patience: float = 5) -> None:  # fmt: skip
        self.run = Run("jenkins-run", Deadline(timeout, "jenkins-run"), out=out)
        self.told: list[dict[str, Any]] = []
        self.run.events.listen(self.told.append)
        secret = user.password if password else user.token
        self.server = http.Server(url, user.name, secret, patience=patience, on_trouble=self.run.warn)

    def __call__(self, job: str, request: str = "", rerun: int = 0, **parameters: str) -> Ended:
        ended = run_job(self.run, self.server, Wish(job, parameters, request, rerun=rerun))
        assert ended is not None
        return ended

    def said(self, kind: str) -> str:
        return "\n".join(str(event.get("text", event.get("line"))) for event in self.told if event["event"] == kind)


@pytest.fixture
def client(server: StandIn, tmp_path: Path) -> Client:
    return Client(tmp_path / "out", server.url)


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start `call` beside this test; the list gets what it returns or raises."""
    got: list[Any] = []

    def work() -> None:
        try:
            got.append(call())
        except BaseException as problem:
            got.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, got


def finished(background: tuple[threading.Thread, list[Any]]) -> Any:
    background[0].join(20)
    assert background[1], "it still runs"
    return background[1][0]


def started(server: StandIn, name: str = "job", number: int = 1) -> None:
    wait_for(lambda: server.get(f"job/{name}/{number}/consoleText").text.count("\nstarted\n"))


# Trigger


def test_parameters_travel_in_the_body(server: StandIn, client: Client) -> None:
    server.create("job", freestyle('echo "got ${#TEXT}"', parameters=["TEXT=", "CD_REQUEST="]))
    ended = client("job", TEXT="x" * 20_000)
    assert ended.build.result == "SUCCESS" and "got 20000" in client.said("output")


def test_what_jenkins_would_drop_bend_or_refuse_is_refused_first(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", parameters=["A=1", "B=true", "C=x|y"]))
    with pytest.raises(UsageProblem) as caught:
        client("job", A="2", B="nonsense", C="z", D="4")
    assert caught.value.hint == "it declares: A, B, C" and len(caught.value.details) == 3
    assert "D is not declared" in caught.value.details[2] and "true or false" in caught.value.details[0]
    assert server.json("job/job")["builds"] == []
    server.create("plain", freestyle("true"))
    assert client("plain").build.result == "SUCCESS"
    with pytest.raises(UsageProblem, match="do not fit|does not fit"):
        client("plain", A="1")


def test_a_missing_and_a_disabled_job(server: StandIn, client: Client) -> None:
    with pytest.raises(UsageProblem, match="has no job none, or admin may not see it"):
        client("none")
    server.create("job", freestyle("true"))
    server.post("job/job/disable")
    with pytest.raises(UsageProblem, match="is disabled"):
        client("job")


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_a_trigger_that_is_refused_after_all(tmp_path: Path, status: int) -> None:
    with scripted({"POST /job/job/buildWithParameters": (status, {}, b"<p>why not</p>")}) as fake:
        client = Client(tmp_path, fake.url)
        with pytest.raises(UsageProblem, match=rf"\({status}\): why not"):
            client("job", CD_REQUEST="r")
        assert len(fake.requests("POST")) == 1


def test_callers_with_requests_of_their_own_never_share_a_build(server: StandIn, tmp_path: Path) -> None:
    server.create("job", freestyle("echo $CD_REQUEST", parameters=["CD_REQUEST="], label="two"))
    clients = [Client(tmp_path / str(n), server.url) for n in range(3)]
    ended = [finished(b) for b in [in_background(lambda c=c: c("job")) for c in clients]]
    assert len({e.build.number for e in ended}) == 3
    for client, end in zip(clients, ended, strict=True):
        assert end.request in client.said("output")


def test_sharing_that_cannot_be_avoided_is_told(server: StandIn, client: Client) -> None:
    server.create("job", freestyle(HANGS, parameters=["A="], label="two"))
    first = server.number(server.trigger("job", A="0"))
    server.trigger("job", A="1")
    background = in_background(lambda: client("job", A="1"))
    wait_for(lambda: "makes one of both" in client.said("warning"))
    for number in (first, 2):
        wait_for(lambda n=number: server.get(f"job/job/{n}/api/json").status_code == 200)
        server.post(f"job/job/{number}/stop")
    assert isinstance(finished(background), BuildLost)


def test_a_request_where_the_job_declares_none(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", parameters=["A="]))
    assert client("job", request="mine", A="1").request == ""
    assert "a retry cannot adopt this build" in client.said("warning")
    with pytest.raises(UsageProblem, match="carry no request"):
        abort_job(client.run, client.server, "job", "mine")


# A retry


def test_a_retry_adopts_what_runs_waits_or_ended_well(server: StandIn, tmp_path: Path) -> None:
    server.create(
        "job",
        freestyle("echo started; until [ -e ../go ]; do sleep 0.05; done", parameters=["CD_REQUEST="], label="two"),
    )
    first, second = Client(tmp_path / "1", server.url), Client(tmp_path / "2", server.url)
    runs = [in_background(lambda: first("job", request="r"))]
    started(server)
    runs.append(in_background(lambda: second("job", request="r")))
    wait_for(lambda: "(adopted)" in second.said("note"))
    waiting = Client(tmp_path / "3", server.url), Client(tmp_path / "4", server.url)
    runs += [in_background(lambda c=c: c("job", request="q")) for c in waiting[:1]]
    wait_for(lambda: server.json("queue")["items"])
    runs += [in_background(lambda c=c: c("job", request="q")) for c in waiting[1:]]
    wait_for(lambda: all("already in progress" in c.said("note") for c in waiting))
    (server.home / "agents/two/workspace/go").touch()
    assert [finished(run).build.number for run in runs] == [1, 1, 2, 2]
    again = Client(tmp_path / "5", server.url)("job", request="r")
    assert (again.build.number, again.adopted) == (1, True) and "started" in first.said("output")


def test_what_ended_badly_is_not_adopted(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("false", parameters=["CD_REQUEST="]))
    for number in (1, 2):
        with pytest.raises(BuildFailed, match=f"#{number} ended with FAILURE"):
            client("job", request="r")


def of_request(number: int, result: str, **more: Any) -> dict[str, Any]:
    """A build of the request `r` that has ended, as Jenkins shows it."""
    return {"number": number, "inProgress": False, "result": result,
            "actions": [{"parameters": [{"name": "CD_REQUEST", "value": "r"}]}], **more}  # fmt: skip


@pytest.mark.parametrize("result", ["SUCCESS", "FAILURE"])
def test_a_lost_answer_to_the_trigger_makes_no_second_build(tmp_path: Path, result: str) -> None:
    """However the build ends while Jenkins is away; one that had failed before is no answer."""
    with scripted({}) as fake:
        fake.faults.append(Fault("POST", "buildWithParameters", drop=True, times=1))
        fake.builds.append(of_request(6, "FAILURE"))
        client = Client(tmp_path, fake.url)

        def arrived(event: dict[str, Any]) -> None:
            if event["event"] == "warning":
                fake.builds.insert(0, of_request(7, result))

        client.run.events.listen(arrived)
        job = jobs.read_job(client.server, "job", client.run.deadline)
        request = trigger.Request(client.server, job, "r")
        assert request.adopt(client.run.deadline) is None
        ticket = request.trigger({"CD_REQUEST": "r"}, client.run.deadline)
        assert ticket.number == 7 and ticket.adopted and len(fake.requests("POST")) == 1


def test_a_build_that_was_lost_for_a_moment_is_not_started_again(tmp_path: Path) -> None:
    """It has failed by the time that Jenkins shows it again: that is how the request ended."""
    waits = {"id": 5, "task": {"url": "http://x/job/job/"}, "executable": {"number": 7},
             "actions": of_request(7, "")["actions"]}  # fmt: skip
    with scripted({"GET /queue/item/5/api/json": waits}) as fake:
        client = Client(tmp_path, fake.url)

        def back(event: dict[str, Any]) -> None:
            if event["event"] == "warning" and "started again" in event["text"]:
                build = of_request(7, "FAILURE")
                fake.builds.append(build)
                fake.answers["GET /job/job/7/api/json"] = build
                fake.answers["GET /job/job/7/logText/progressiveText"] = (200, {"X-Text-Size": "0"}, b"")

        client.run.events.listen(back)
        with pytest.raises(BuildFailed, match="#7 ended with FAILURE"):
            run_job(client.run, client.server, Wish("job", {}, "r", restart_lost=1))
        assert len(fake.requests("POST")) == 1 and "it is started again" in client.said("warning")


def test_a_lost_answer_without_a_request_is_told_and_not_repeated(tmp_path: Path) -> None:
    with scripted({}, parameters=["A"]) as fake:
        fake.faults.append(Fault("POST", "buildWithParameters", drop=True))
        client = Client(tmp_path, fake.url)
        with pytest.raises(Unavailable, match="may have been triggered all the same"):
            client("job", A="1")
        assert len(fake.requests("POST")) == 1


# From the queue to a build


def test_why_it_waits_is_told_once(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", parameters=["CD_REQUEST="], label="none-such"))
    background = in_background(lambda: client("job", request="r"))
    wait_for(lambda: "none-such" in client.said("note"))
    assert "(stuck)" in client.said("note") and client.said("note").count("none-such") == 1
    server.create("job", freestyle("true", parameters=["CD_REQUEST="]))
    assert finished(background).build.result == "SUCCESS"


def test_an_item_cancelled_by_somebody_is_lost(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", label="none-such"))
    background = in_background(lambda: client("job"))
    item = wait_for(lambda: server.json("queue")["items"])[0]
    server.post(f"queue/cancelItem?id={item['id']}")
    problem = finished(background)
    assert isinstance(problem, BuildLost) and "cancelled while it waited" in problem.message and problem.exit_code == 11


@pytest.mark.parametrize("parameters", [["CD_REQUEST="], ["A="]])
def test_a_forgotten_item_is_found_among_the_builds(tmp_path: Path, parameters: list[str]) -> None:
    with in_process(tmp_path / "home", replace(SETTINGS, queue_memory=0.0)) as server:
        server.create("job", freestyle("true", parameters=parameters))
        assert Client(tmp_path / "out", server.url)("job").build.result == "SUCCESS"


def test_an_item_that_is_nowhere_is_lost(tmp_path: Path) -> None:
    with scripted({}) as fake:
        client = Client(tmp_path, fake.url)
        with pytest.raises(BuildLost, match="neither in the queue nor among the builds"):
            client("job", request="r")


def test_an_item_of_the_same_id_after_a_kill_is_somebody_elses(tmp_path: Path) -> None:
    other = {"id": 5, "task": {"url": "http://x/job/job/"}, "executable": {"number": 3},
             "actions": [{"parameters": [{"name": "CD_REQUEST", "value": "theirs"}]}]}  # fmt: skip
    with scripted({"GET /queue/item/5/api/json": other}) as fake, pytest.raises(BuildLost):
        Client(tmp_path, fake.url)("job", request="mine")
    unnamed = {**other, "actions": []}
    with scripted({"GET /queue/item/5/api/json": unnamed}, parameters=[]) as fake:
        fake.start_after_post = "second life"
        fake.builds.append({"number": 3, "queueId": 5, "inProgress": True})
        with pytest.raises(BuildLost):
            Client(tmp_path, fake.url)("job")


# The log


def test_the_log_arrives_once_and_whole(server: StandIn, client: Client) -> None:
    script = "i=0; while [ $i -lt 300 ]; do echo \"line $i ä€😀\"; i=$((i+1)); [ $((i % 60)) -gt 0 ] || sleep 0.12; done; printf '\\033[31mend'"
    server.create("job", freestyle("set +x; " + script))
    client("job")
    lines = [line for line in client.said("output").splitlines() if line.startswith("line")]
    assert lines == [f"line {n} ä€😀" for n in range(300)]
    assert "\x1b[31mend\nFinished: SUCCESS" in client.said("output") and "\r" not in client.said("output")


def test_bytes_are_decoded_over_the_ends_of_answers(tmp_path: Path) -> None:
    whole = "eins ä\r\nzwei €\r\nthree 😀\r\nno end".encode()
    raw = whole.replace(b"\r\n", b"\n")
    cuts = [0, 6, 8, 14, 15, 23, 24, len(raw)]  # in the middle of characters

    def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        start = int(seen.path.rpartition("=")[2])
        end = next((cut for cut in cuts if cut > start), len(raw))
        more = {"X-More-Data": "true"} if end < len(raw) else {}
        return 200, {"X-Text-Size": str(end), **more}, raw[start:end].replace(b"\n", b"\r\n")

    fake = Server(answer)
    lines: list[str] = []
    log = follow.Log(http.Server(fake.url, "", ""), jobs.Job("job", {}, 0), 1, lines.append)
    while log.advance(Deadline(5)):
        pass
    log.end()
    assert lines == ["eins ä", "zwei €", "three 😀", "no end"]
    assert [seen.path.rpartition("=")[2] for seen in fake.seen] == [str(cut) for cut in cuts[:-1]]
    fake.close()


def test_the_whole_log_again_is_not_shown_again(tmp_path: Path) -> None:
    answers = [(200, {"X-Text-Size": "2", "X-More-Data": "true"}, b"a\r\n"), (200, {"X-Text-Size": "2"}, b"a\r\n"),
               (200, {"X-Text-Size": "1"}, b"a"), (404, {}, b"")]  # fmt: skip
    fake = Server(lambda seen: answers.pop(0))
    lines: list[str] = []
    log = follow.Log(http.Server(fake.url, "", ""), jobs.Job("job", {}, 0), 1, lines.append)
    assert [log.advance(Deadline(5)) for _ in range(4)] == [True, False, False, None]
    assert lines == ["a"]
    fake.close()


def test_a_cut_answer_is_asked_for_again(server: StandIn, tmp_path: Path) -> None:
    body = b"one\r\ntwo\r\n"
    fake = Server(lambda seen: (200, {"X-Text-Size": "8"}, body))
    fake.faults.append(Fault("GET", "progressiveText", 200, b"one\r\n", {"X-Text-Size": "8"}, times=1, cut=True))
    lines: list[str] = []
    log = follow.Log(http.Server(fake.url, "", "", patience=5), jobs.Job("job", {}, 0), 1, lines.append)
    assert log.advance(Deadline(5)) is False and lines == ["one", "two"]
    fake.close()


# The end


def test_the_end_is_awaited_and_not_only_the_result(tmp_path: Path) -> None:
    with in_process(tmp_path / "home", replace(SETTINGS, ending=0.4)) as server:
        server.create("job", freestyle("true"))
        client = Client(tmp_path / "out", server.url)
        assert client("job").build.running is False
        assert client.said("output").endswith("Finished: SUCCESS")


def test_artifacts_of_any_kind_are_fetched(server: StandIn, client: Client) -> None:
    script = "mkdir -p .cd/deep; printf 'ä\\377' > '.cd/deep/a b#?.txt'; echo '{}' > .cd/x.json; echo y > other"
    server.create("job", freestyle(script, more={"publishers": ARCHIVE}))
    ended = client("job")
    assert sorted(ended.artifacts) == ["deep/a b#?.txt", "other", "x.json"]
    folder = client.run.out / "artifacts"
    assert (folder / "deep/a b#?.txt").read_bytes() == b"\xc3\xa4\xff" and (folder / "other").read_text() == "y\n"
    assert {p.name for p in folder.iterdir()} == {"deep", "other", "x.json"}


def test_artifacts_stay_in_their_folder(server: StandIn, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server.create("job", freestyle("echo 1234 > good; echo 123456789 > large", more={"publishers": ARCHIVE}))
    server.build("job")
    monkeypatch.setattr(artifacts, "LARGEST", 6)
    names = ("../evil", "/etc/evil", "a/../../evil", "good", ".cd/good", "gone", "large", ".cd")
    build = Build(1, "", 0, False, "SUCCESS", 0.0, names, {})
    folder = client.run.out / "artifacts"
    job = jobs.Job("job", {}, 0)
    assert artifacts.fetch(client.run, client.server, job, build, folder, client.run.deadline) == ["good"]
    assert client.said("warning").count("left out") == 5 and [p.name for p in folder.iterdir()] == ["good"]


def test_artifacts_that_lie_elsewhere_are_fetched_without_our_token(tmp_path: Path) -> None:
    """As with artifact-manager-s3, or a Resource Root URL: one answer sends us on, to another, to the file."""
    away = Server(lambda seen: (200, {}, b"all") if "signed" in seen.path else (307, {"Location": "/b?signed=1"}, b""))
    fake = Server(lambda seen: (302, {"Location": f"{away.url}/a", "Set-Cookie": "JSESSIONID=1"}, b""))
    client = Client(tmp_path, fake.url)
    build = replace(BUILD, artifacts=(".cd/one", ".cd/two"))
    fetched = artifacts.fetch(client.run, client.server, jobs.Job("job", {}, 0), build, tmp_path / "a", Deadline(5))
    assert fetched == ["one", "two"] and (tmp_path / "a" / "two").read_bytes() == b"all"
    assert [seen.path for seen in away.seen] == ["/a", "/b?signed=1"] * 2 and client.said("warning") == ""
    assert all("Authorization" in seen.headers for seen in fake.seen)
    assert not [seen for seen in away.seen if {"Authorization", "Cookie"} & set(seen.headers)]
    for server in (away, fake):
        server.close()


@pytest.mark.parametrize("status", [302, 403, 418, 503])
@pytest.mark.parametrize("location", ["", "/job/job/7/artifact/x", "file:///etc/passwd", "ftp://x/", "https://[", "//"])
def test_artifacts_that_cannot_be_had_change_nothing(tmp_path: Path, location: str, status: int) -> None:
    fake = Server(lambda seen: (status, {"Location": location} if location else {}, b""))
    client = Client(tmp_path, fake.url, patience=0)
    build, job = replace(BUILD, artifacts=("x", "y")), jobs.Job("job", {}, 0)
    assert artifacts.fetch(client.run, client.server, job, build, tmp_path / "a", Deadline(5)) == []
    assert "artifact" in client.said("warning") and "x" in client.said("warning")
    assert len(fake.seen) <= 2 * (http._HOPS + 1)
    fake.close()


@pytest.mark.parametrize("host", ["http://j/", "https://j/"])
def test_what_was_asked_for_by_tls_is_never_had_without(host: str) -> None:
    response = requests.Response()
    response.headers["Location"] = "http://elsewhere/"
    assert http._may_follow(host, response) is (host == "http://j/")
    response.headers["Location"] = "https://elsewhere/"
    assert http._may_follow(host, response)


def test_what_was_fetched_before_the_trouble_counts(tmp_path: Path) -> None:
    """A build ends as its cd-result.json says, also where a later artifact cannot be had."""
    fake = Server(lambda seen: (200, {}, b'{"exit_code": 4}') if "result" in seen.path else (403, {}, b""))
    client = Client(tmp_path, fake.url)
    build = replace(BUILD, artifacts=(".cd/cd-result.json", ".cd/z"))
    fetched = artifacts.fetch(client.run, client.server, jobs.Job("job", {}, 0), build, tmp_path / "a", Deadline(5))
    assert artifacts.read_result(tmp_path / "a", fetched) == {"exit_code": 4}
    fake.close()


def result(**members: Any) -> str:
    return json.dumps(
        {"schema": "cd-result/1", "command": "run-tests", "outcome": "x", "exit_code": 0, "duration_s": 1.0, **members}
    )


@pytest.mark.parametrize(("code", "script", "kind"), [(0, "", None), (4, "exit 4", TestsFailed), (4, "", TestsFailed), (0, "exit 1", BuildFailed),
                                                      (143, "exit 143", BuildLost), (99, "exit 99", BuildFailed)])  # fmt: skip
def test_the_result_of_a_build_is_ours(
    server: StandIn, client: Client, code: int, script: str, kind: type[CdError] | None
) -> None:
    error = {"message": "2 of 9 tests failed", "hint": "mend them", "details": ["test_a"]}
    told = result(exit_code=code, service="hello", **({"error": error} if code else {}))
    server.create(
        "job",
        freestyle(f"set +x; mkdir -p .cd; echo '{told}' > .cd/cd-result.json; {script}", more={"publishers": ARCHIVE}),
    )
    if kind is None:
        shown = client("job").as_dict()
    else:
        with pytest.raises(CdError) as caught:
            client("job")
        assert type(caught.value) is kind
        shown = caught.value.made
        if code:
            assert caught.value.message == "job #1: 2 of 9 tests failed" and caught.value.details == ("test_a",)
    assert shown["job_result"]["service"] == "hello" and shown["build"]["number"] == 1
    assert shown["build"]["url"] == f"{server.url}job/job/1/" and shown["artifacts"] == ["cd-result.json"]


BUILD = Build(7, "http://j/job/x/7/", 0, False, "SUCCESS", 1.0, (), {})


@pytest.mark.parametrize(("ended", "code", "exit_code"), [
    ("SUCCESS", None, 0), ("FAILURE", None, 3), ("UNSTABLE", None, 4), ("ABORTED", None, 11), ("NOT_BUILT", None, 11), ("", None, 3),
    ("SUCCESS", 0, 0), ("SUCCESS", 6, 6), ("FAILURE", 0, 3), ("FAILURE", 1, 1), ("FAILURE", 5, 5), ("FAILURE", 7, 7),
    ("ABORTED", 0, 11), ("ABORTED", 143, 11), ("ABORTED", 3, 11), ("ABORTED", 7, 7), ("ABORTED", 8, 8), ("UNSTABLE", 4, 4),
    ("FAILURE", 69, 69), ("FAILURE", 130, 11), ("FAILURE", 250, 3)])  # fmt: skip
def test_exit_codes(ended: str, code: int | None, exit_code: int) -> None:
    told = None if code is None else {"exit_code": code}
    problem = verdict.problem_of(jobs.Job("x", {}, 0), replace(BUILD, result=ended), told, ["last words"])
    assert (problem.exit_code if problem else 0) == exit_code


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"exit_code": "0"}', '{"exit_code": true}', '{"exit_code": 999}', "[" * 100_000]
)
def test_a_result_that_is_none_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cd-result.json").write_text(text)
    assert artifacts.read_result(tmp_path, ["cd-result.json"]) is None


def test_a_failed_build_of_anybody_tells_its_last_lines(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("set +x; echo the reason; exit 5"))
    with pytest.raises(BuildFailed) as caught:
        client("job")
    assert "the reason" in caught.value.details and caught.value.hint.endswith("/job/job/1/console")


# Abort


@pytest.mark.parametrize("script", [HANGS, "trap '' TERM; echo started; while :; do sleep 0.1; done"])
def test_a_running_build_is_aborted_and_seen_so(tmp_path: Path, script: str) -> None:
    with in_process(tmp_path / "home", replace(SETTINGS, kill_after=0.5)) as server:
        server.create("job", freestyle(script, parameters=["CD_REQUEST="], concurrent=True))
        runs = [Client(tmp_path / name, server.url) for name in ("r", "other")]
        backgrounds = [
            in_background(lambda c=c, r=r: c("job", request=r)) for c, r in zip(runs, ("r", "other"), strict=True)
        ]
        for number in (1, 2):
            wait_for(lambda n=number: server.get(f"job/job/{n}/api/json").status_code == 200)
            started(server, "job", number)
        client = Client(tmp_path / "out", server.url)
        aborted = abort_job(client.run, client.server, "job", "r")
        assert aborted and [build.result for build in aborted.builds] == ["ABORTED"] and aborted.cancelled == 0
        assert isinstance(finished(backgrounds[0]), BuildLost)
        others = [b for b in server.json("job/job", "builds[number,building]")["builds"] if b["building"]]
        assert len(others) == 1
        again = abort_job(client.run, client.server, "job", "r")
        assert again and again.builds == () and again.cancelled == 0
        server.post(f"job/job/{others[0]['number']}/stop")
        finished(backgrounds[1])


def test_a_queued_build_is_aborted_and_seen_so(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", parameters=["CD_REQUEST="], label="none-such"))
    server.trigger("job", CD_REQUEST="r")
    server.trigger("job", CD_REQUEST="other")
    aborted = abort_job(client.run, client.server, "job", "r")
    assert aborted and aborted.cancelled == 1 and aborted.builds == ()
    assert len(server.json("queue")["items"]) == 1


def test_who_may_build_may_not_abort(server: StandIn, tmp_path: Path) -> None:
    server.create("job", freestyle("true", parameters=["CD_REQUEST="]))
    builder = Client(tmp_path / "out", server.url, BUILDER)
    builder("job")
    assert "may not abort" not in builder.said("warning")  # nothing had been built by which to tell
    builder("job")
    assert "the right Job/Cancel is missing" in builder.said("warning")
    server.create("job", freestyle(HANGS, parameters=["CD_REQUEST="]))
    server.trigger("job", CD_REQUEST="r")
    with pytest.raises(NotAllowed, match="may not abort builds of job") as caught:
        abort_job(builder.run, builder.server, "job", "r")
    assert caught.value.exit_code == 77
    server.create("late", freestyle("true", parameters=["CD_REQUEST="], label="none-such"))
    server.trigger("late", CD_REQUEST="r")
    with pytest.raises(NotAllowed):
        abort_job(builder.run, builder.server, "late", "r")
    server.post("job/job/3/stop")


@pytest.mark.parametrize("parameters", [["CD_REQUEST="], ["A="]])
@pytest.mark.parametrize("waits", [False, True])
def test_who_waits_no_longer_aborts(server: StandIn, tmp_path: Path, parameters: list[str], waits: bool) -> None:
    server.create("job", freestyle(HANGS, parameters=parameters, label="none-such" if waits else ""))
    client = Client(tmp_path / "out", server.url, timeout=0.4)
    with pytest.raises(OutOfTime):
        client("job")
    wait_for(lambda: not server.json("queue")["items"])
    builds = server.json("job/job", "builds[result]")["builds"]
    assert [b["result"] for b in builds] == ([] if waits else ["ABORTED"])
    assert "was aborted, since nobody waits" in client.said("note")


@pytest.mark.parametrize(("fault", "kind"), [
    (Fault("", "", 302, headers={"Location": "https://sso/"}), UsageProblem), (Fault("", "", 403), NotAllowed),
    (Fault("", "", 200, b"<html>please log in"), UsageProblem)], ids=["redirect", "refusal", "page"])  # fmt: skip
def test_one_odd_answer_about_the_queue_leaves_nothing_behind(
    tmp_path: Path, fault: Fault, kind: type[CdError]
) -> None:
    item = {"id": 5, "why": "waits", "task": {"url": "http://x/job/job/"}, "actions": of_request(7, "")["actions"]}

    def cancel() -> tuple[int, dict[str, str], bytes]:
        fake.answers["GET /queue/api/json"] = {"items": []}
        fake.answers["GET /queue/item/5/api/json"] = {**item, "cancelled": True}
        return 204, {}, b""

    answers = {"GET /queue/api/json": {"items": [item]}, "POST /queue/cancelItem": cancel}
    with scripted(answers) as fake:
        fake.faults.append(replace(fault, method="GET", path="queue/item/5", times=1))
        client = Client(tmp_path, fake.url)
        with pytest.raises(kind):
            client("job", CD_REQUEST="r")
        assert len(fake.requests("POST", "cancelItem")) == 1 and "was aborted" in client.said("note")


def test_a_signal_aborts(server: StandIn, client: Client) -> None:
    server.create("job", freestyle(HANGS, parameters=["CD_REQUEST="]))

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "output" and event["line"] == "started":
            raise Interrupted(signal.SIGTERM)

    client.run.events.listen(interrupt)
    with pytest.raises(Interrupted):
        client("job")
    assert server.ended("job", 1)["result"] == "ABORTED"


# Rights


def test_401_403_and_404_are_told_apart(server: StandIn, tmp_path: Path) -> None:
    server.create("job", freestyle("true"))
    cases = [(replace(BUILDER, token="wrong-token"), NotAllowed, r"\(401\)"), (READER, NotAllowed, r"\(403\).*Item.Build is missing"),
             (STRANGER, UsageProblem, "or stranger may not see it")]  # fmt: skip
    for user, kind, words in cases:
        with pytest.raises(kind, match=words):
            Client(tmp_path / "out", server.url, user)("job")


def test_a_password_gets_its_crumb(server: StandIn, tmp_path: Path) -> None:
    server.create("job", freestyle("true", parameters=["CD_REQUEST="]))
    client = Client(tmp_path / "out", server.url, BUILDER, password=True)
    assert client("job").build.result == "SUCCESS"
    client.server._session.cookies.clear()  # as after a restart
    assert client("job").build.number == 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[" * 3000 + b"]" * 3000], ids=["page", "empty", "deep"])
def test_a_crumb_that_is_none_is_told(body: bytes) -> None:
    fake = Server(lambda seen: (403, {}, b"No valid crumb") if seen.method == "POST" else (200, {}, body))
    with pytest.raises(UsageProblem, match="answers with no crumb"):
        http.Server(fake.url, "me", "secret").act("stop", "stopping", Deadline(5), ok=(200,))
    fake.close()


# Trouble


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    fake = Server(lambda seen: (503, {}, b"<p>Please wait while Jenkins is getting ready"))
    client = Client(tmp_path, fake.url, patience=0.5)
    with pytest.raises(Unavailable, match="is starting, or overloaded") as caught:
        client("job")
    assert caught.value.exit_code == 69 and client.said("warning").count("waiting for up to 0.5 s") == 1
    fake.close()
    began = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached"):
        Client(tmp_path, fake.url, patience=0.5)("job")
    assert time.monotonic() - began < 5


def test_a_server_that_comes_back(server: StandIn, tmp_path: Path) -> None:
    with scripted({"GET /job/job/1/api/json": {"number": 1, "inProgress": False, "result": "SUCCESS"}}) as fake:
        fake.faults.append(Fault("GET", "job/job/api", times=2, status=503))
        assert jobs.read_job(Client(tmp_path, fake.url).server, "job", Deadline(10)).adoptable


def test_no_json_and_a_redirect_are_told(tmp_path: Path) -> None:
    answers = {
        "GET /job/a/api/json": (200, {}, b"<html>log in"),
        "GET /job/b/api/json": (302, {"Location": "https://sso/?x=1"}, b""),
        "GET /job/c/api/json": (200, {}, b"[" * 3000 + b"]" * 3000),
    }
    with scripted(answers) as fake:
        for name, words in (("a", "answers with no JSON"), ("b", "302.*sends us to https://sso/$"),
                            ("c", "answers with no JSON")):  # fmt: skip
            with pytest.raises(UsageProblem, match=words):
                Client(tmp_path, fake.url)(name)
    for url in ("", "jenkins", "ftp://x/", "http://me:secret@host/"):
        with pytest.raises(UsageProblem, match="no usable address") as caught:
            http.Server(url, "", "")
        assert "secret" not in str(caught.value)


def test_a_build_that_vanishes_is_lost(server: StandIn, client: Client) -> None:
    server.create("job", freestyle(HANGS, parameters=["CD_REQUEST="]))
    background = in_background(lambda: client("job"))
    started(server)
    server.post("job/job/1/stop")
    server.post("job/job/1/doDelete")
    problem = finished(background)
    assert isinstance(problem, BuildLost) and "job #1" in problem.message and problem.made["build"]["number"] == 1


def test_a_build_that_vanishes_is_started_again_as_often_as_one_likes(server: StandIn, client: Client) -> None:
    server.create("job", freestyle('[ "$BUILD_NUMBER" -gt 2 ] || { echo started; sleep 60 & wait; }',
                                   parameters=["CD_REQUEST=", "A="]))  # fmt: skip
    wish = Wish("job", {"A": "a b"}, "mine", restart_lost=2)
    background = in_background(lambda: run_job(client.run, client.server, wish))
    for number in (1, 2):
        started(server, number=number)
        server.post(f"job/job/{number}/stop")
        server.post(f"job/job/{number}/doDelete")
    ended = finished(background)
    assert ended.build.number == 3 and ended.build.parameters["A"] == "a b" and ended.request == "mine"
    assert client.said("warning").count("it is started again") == 2


def test_what_was_aborted_is_not_started_again(server: StandIn, client: Client) -> None:
    server.create("job", freestyle(HANGS, parameters=["CD_REQUEST="]))
    background = in_background(lambda: run_job(client.run, client.server, Wish("job", {}, "mine", restart_lost=2)))
    started(server)
    server.post("job/job/1/stop")
    problem = finished(background)
    assert isinstance(problem, BuildLost) and "was aborted" in problem.message
    assert client.said("warning") == ""


# Rerun, and jobs of others


def test_a_rerun_takes_the_parameters_of_a_build(server: StandIn, client: Client) -> None:
    server.create("job", freestyle('echo "A=$A B=$B P=${#P}"', parameters=["A=1", "B=false", "P!", "CD_REQUEST="]))
    server.build("job", A="a b", B="true", P="secret", CD_REQUEST="first")
    with pytest.raises(UsageProblem, match="does not tell the values of P"):
        client("job", rerun=1)
    ended = client("job", rerun=1, P="new1")
    assert ended.build.number == 2 and "\nA=a b B=true P=4\n" in client.said("output") and ended.request != "first"
    with pytest.raises(UsageProblem, match="has no build 99"):
        client("job", rerun=99)


def test_jobs_in_folders() -> None:
    job = jobs.Job("team/my job", {}, 0)
    assert job.path == "job/team/job/my%20job"


def test_a_dry_run_triggers_nothing(server: StandIn, client: Client) -> None:
    server.create("job", freestyle("true", parameters=["CD_REQUEST=", "A="]))
    client.run.dry_run = True
    assert run_job(client.run, client.server, Wish("job", {"A": "1"})) is None
    assert abort_job(client.run, client.server, "job", "r") is None
    assert server.json("job/job")["builds"] == [] and "A, CD_REQUEST" in str(client.told)


# The command


@pytest.fixture
def call(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    monkeypatch.setenv("JENKINS_URL", server.url)
    monkeypatch.setenv("JENKINS_USER", "admin")
    monkeypatch.setenv("JENKINS_TOKEN", "admin-token-1")

    def invoke(*args: str) -> int:
        with pytest.raises(SystemExit) as caught:
            jenkins_run.main.main(["--out", str(tmp_path / "out"), "--json", *args])
        return int(caught.value.code or 0)

    yield invoke
    for number, handler in old.items():
        signal.signal(number, handler)


def test_the_command(server: StandIn, call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    server.create("job", freestyle('echo "A=$A B=$B"; echo $CD_REQUEST', parameters=["A=", "B=", "CD_REQUEST="]))
    (tmp_path / "p.json").write_text('{"A": "file", "B": "file"}')
    assert (
        call("--job", "job", "--params-file", str(tmp_path / "p.json"), "--param", "B=word=2", "--request", "r1") == 0
    )
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert made["outcome"] == "done" and made["build"]["request"] == "r1" and schema_mistakes(made, "result") == []
    assert "A=file B=word=2" in shown.err and "admin-token-1" not in shown.err + shown.out
    assert call("--job", "job", "--abort", "--request", "r1") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "unchanged"
    assert call("--job", "job", "--abort") == 2
    server.create("bad", freestyle("exit 1"))
    assert call("--job", "bad") == 3
    monkeypatch.delenv("JENKINS_TOKEN")
    assert call("--job", "job") == 2
    (tmp_path / "token").write_text("admin-token-1\n")
    (tmp_path / "token").chmod(0o600)
    assert call("--job", "job", "--token-file", str(tmp_path / "token"), "-q") == 0
    monkeypatch.delenv("JENKINS_URL")
    assert call("--job", "job", "--token-file", str(tmp_path / "token")) == 2
    assert "JENKINS_URL is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "text"), [(["A"], "{}"), (["=x"], "{}"), ([], "[]"), ([], '{"a": 1}'), ([], "{")])
def test_bad_parameters(tmp_path: Path, words: list[str], text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageProblem):
        read_parameters(words, tmp_path / "p.json")
    with pytest.raises(UsageProblem):
        read_parameters([], tmp_path / "none.json")


class Scripted(Server):
    """A server that answers as it is told: a job that exists, and what else is given."""

    def __init__(self, answers: dict[str, Any], parameters: list[str]) -> None:
        super().__init__(self._reply)
        self.answers, self.builds, self.parameters = answers, list[dict[str, Any]](), parameters
        self.start, self.start_after_post = "first life", ""

    def _reply(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        answer = self.answers.get(f"{seen.method} {seen.path.partition('?')[0]}")
        answer = answer() if callable(answer) else answer
        headers = {"X-Jenkins-Session": self.start}
        if isinstance(answer, tuple):
            return answer
        if seen.method == "POST" and answer is None:
            self.start = self.start_after_post or self.start
            return 201, {**headers, "Location": f"{self.url}/queue/item/5/"}, b""
        if answer is None and seen.path.startswith("/job/job/api/json"):
            kinds = [{"name": name, "type": "StringParameterDefinition"} for name in self.parameters]
            answer = {"buildable": True, "property": [{"parameterDefinitions": kinds}], "builds": self.builds}
        if answer is None and seen.path.startswith("/queue/api/json"):
            answer = {"items": []}
        return (200 if answer is not None else 404), headers, json.dumps(answer).encode()


@contextmanager
def scripted(answers: dict[str, Any], parameters: list[str] | None = None) -> Iterator[Scripted]:
    server = Scripted(answers, ["CD_REQUEST"] if parameters is None else parameters)
    yield server
    server.close()
