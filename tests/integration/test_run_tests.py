"""run-tests against a real Docker Engine: what tests may do, and what counts as having passed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from images import HOSTILE, Workshop, new_workshop

from lab.testing import Repository, RunningLab

PASSED = '<testsuite><testcase classname="a.B" name="one"/></testsuite>'
PASS = f"mkdir -p /reports; echo '{PASSED}' > /reports/a.xml"


@pytest.fixture
def work(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Workshop]:
    made = new_workshop(lab, repo, tmp_path)
    yield made
    made.forget()


def configure(work: Workshop, script: str = "", **test: Any) -> None:
    """Commit a cd.yaml whose tests run `script` by the shell, with what else `test` says."""
    chosen = {"command": ["sh", "-c", script], **test} if script else test
    work.write(cd__yaml=json.dumps({"service": work.name, "test": chosen}))


def test_the_sample_service_passes(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> None:
    made = repo()
    hello = Workshop(lab, made, "hello", tmp_path)
    done = hello.run("run-tests")
    assert done.code == 0 and done.result["tests"]["passed"] >= 3 and done.result["tests"]["failed"] == 0, done.err
    assert " passed, 0 failed" in done.out and done.result["images"][0]["variant"] == "test"
    (report,) = (made.folder / ".cd" / "reports").iterdir()
    assert report.name == "hello.xml" and "<testsuite" in report.read_text()
    tests = made.folder / "tests" / "test_hello.py"
    made.commit(files={"tests/test_hello.py": tests.read_text() + "\n\ndef test_of_mine():\n    assert 1 == 2, 'no'\n"})
    bad = hello.run("run-tests")
    assert bad.code == 4 and bad.result["tests"]["failed"] == 1
    assert "1 of" in bad.problem[0] and "test_of_mine" in bad.problem[1] and "no" in bad.problem[1]
    assert not list(hello.temporary.iterdir())


def test_the_container_has_nothing_that_tests_do_not_need(work: Workshop) -> None:
    configure(
        work,
        "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status; ls /sys/class/net; "
        "ls /var/run/docker.sock /run/docker.sock 2>&1; grep -c . /proc/self/mountinfo >/dev/null; "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; "
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; "
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; env; " + PASS,
        limits={"memory": "64Mi", "cpus": 0.5, "processes": 33, "time": "60s"},
    )
    work.env["CD_SECRET_TOKEN"] = "must-not-arrive"
    done = work.run("run-tests")
    assert done.code == 0, done.err
    shown = done.err.partition("user 65534")[2]
    said = [line.partition("│ ")[2] for line in shown.splitlines() if "│ " in line]
    assert said[0] == "65534" and "CapEff: 0000000000000000" in " ".join(said[1].split())
    assert any(" ".join(line.split()) == "CapBnd: 0000000000000000" for line in said)
    assert any(" ".join(line.split()) == "NoNewPrivs: 1" for line in said)
    assert "lo" in said and not any(line.startswith("eth") for line in said)
    assert sum("No such file" in line for line in said) == 2
    assert str(64 * 2**20) in said and "33" in said and any(line.startswith("50000") for line in said)
    assert "must-not-arrive" not in done.err


@pytest.mark.parametrize(
    ("reports", "dockerfile", "script"),
    [
        ("/reports", "", "echo '{}' > /reports/a.xml"),
        ("/deep/er/folder", "", "echo '{}' > /deep/er/folder/a.xml"),
        ("/srv", "", "echo '{}' > /srv/a.xml"),
        ("/tmp/junit.xml", "", "echo '{}' > /tmp/junit.xml"),
        ("/var/link", "RUN ln -s ../srv /var/link", "echo '{}' > /srv/a.xml"),
        ("/data/out", "VOLUME /data", "echo '{}' > /data/out/a.xml"),
        ("/home/app/r", "RUN useradd -m app\nUSER app", "test $(id -un) = app && echo '{}' > /home/app/r/a.xml"),
    ],
)
def test_reports_come_out_wherever_they_lie(work: Workshop, reports: str, dockerfile: str, script: str) -> None:
    base = f"FROM {work.lab.registry}/lab/python:3.11-slim AS test\n{dockerfile}\n"
    work.write(Dockerfile=base)
    configure(work, script.replace("{}", PASSED), reports=reports)
    done = work.run("run-tests")
    assert done.code == 0 and done.result["tests"]["passed"] == 1, done.err


@pytest.mark.parametrize(
    ("dockerfile", "number"),
    [
        ("USER +0", "65534"), ("RUN echo sly:x:0:0::/:/bin/sh >> /etc/passwd\nUSER sly", "65534"), ("USER nobody", "65534"),
        ("RUN useradd -m -u 1234 app\nUSER app", "1234"), ("USER 4321:100", "4321"),
    ],
)  # fmt: skip
def test_no_user_of_an_image_is_root(work: Workshop, dockerfile: str, number: str) -> None:
    before = set(work.containers())
    work.write(Dockerfile=f"FROM {work.lab.registry}/lab/python:3.11-slim AS test\n{dockerfile}\n")
    configure(work, f"test $(id -u) = {number} && {PASS}")
    done = work.run("run-tests")
    assert done.code == 0 and f"user {number}" in done.err, done.err
    assert set(work.containers()) <= before


def test_reports_that_are_too_large_end_the_run_at_once(work: Workshop) -> None:
    before = set(work.containers())
    configure(work, "dd if=/dev/zero of=/reports/a.xml bs=1M count=200 2>/dev/null")
    done = work.run("run-tests", "--timeout", "120")
    assert done.code == 4 and "more than 128 MiB" in done.problem[0] and done.seconds < 60, done.err
    assert set(work.containers()) <= before


def test_values_reach_the_command_unharmed(work: Workshop) -> None:
    work.write(cd__yaml=json.dumps({
        "service": work.name,
        "test": {"command": ["python3", "-c", "import sys; open('/reports/a.xml','w').write(sys.argv[2]); "
                             "print(ascii(sys.argv[1]))", HOSTILE, PASSED]},
    }))  # fmt: skip
    done = work.run("run-tests")
    assert done.code == 0 and ascii(HOSTILE) in done.err, done.err


def test_the_images_own_command_and_a_command_over_its_entry_point(work: Workshop) -> None:
    base = f"FROM {work.lab.registry}/lab/python:3.11-slim AS test\n"
    own = json.dumps(["sh", "-c", PASS])
    work.write(Dockerfile=f'{base}ENTRYPOINT ["env", "X=1"]\nCMD {own}\n')
    configure(work)
    assert work.run("run-tests").code == 0
    configure(work, f'test -z "$X"; {PASS}')
    assert work.run("run-tests").code == 0


@pytest.mark.parametrize(
    ("script", "said", "detail"),
    [
        ("exit 0", "no test was executed: there is no JUnit file", ""),
        ("echo hello; exit 5", "exit status 5, and no test was executed", "hello"),
        (f"{PASS}; exit 3", "exit status 3, although 1 tests passed", ""),
        ("echo '<testsuite><testcase name=\"a\"><skipped/></testcase></testsuite>' > /reports/a.xml", "all 1 were skipped", ""),
        ("echo '<testsuite><testcase' > /reports/a.xml", "a.xml: no JUnit file that can be read", ""),
        ("ln -s /etc/passwd /reports/a.xml", "no test was executed", ""),
        ("for i in $(seq 30); do echo line $i; done; exit 1", "exit status 1", "line 30"),
    ],
)  # fmt: skip
def test_all_that_is_no_success(work: Workshop, script: str, said: str, detail: str) -> None:
    configure(work, script)
    done = work.run("run-tests")
    assert done.code == 4 and said in done.problem[0] and detail in "\n".join(done.problem), done.err
    assert "tests" in done.result and "Traceback" not in done.err


def test_reports_that_lay_in_the_image_are_no_result(work: Workshop) -> None:
    base = f"FROM {work.lab.registry}/lab/python:3.11-slim AS test\nCOPY a.xml /reports/a.xml\n"
    work.write(Dockerfile=base, a__xml=PASSED)
    configure(work, "true")
    done = work.run("run-tests")
    assert done.code == 4 and "a.xml was in the image before" in done.problem[0]


@pytest.mark.parametrize("command", ["/no/such/program", "nosuchprogram", "/etc/passwd"])
def test_a_command_that_does_not_start(work: Workshop, command: str) -> None:
    configure(work, command=[command])
    done = work.run("run-tests")
    assert done.code == 4 and "does not start" in done.problem[0] and command in done.problem[0], done.err


def test_memory_processes_and_time_have_limits(work: Workshop) -> None:
    configure(work, "python3 -c 'x = bytearray(200 * 2**20)'", limits={"memory": "32Mi"})
    done = work.run("run-tests")
    assert done.code == 4 and ("32 MiB" in done.problem[0] or "exit status 137" in done.problem[0]), done.err
    configure(work, f"for i in $(seq 40); do sleep 20 & done; {PASS}", limits={"processes": 10})
    done = work.run("run-tests")
    assert done.code == 4 and "fork" in done.err
    for script in ("echo begun; sleep 600", "exec >/dev/null 2>&1; sleep 600"):
        configure(work, script, limits={"time": "2s"})
        done = work.run("run-tests")
        assert done.code == 4 and "did not end within 2 s" in done.problem[0] and done.seconds < 25, done.err
    configure(work, "sleep 600")
    done = work.run("run-tests", "--timeout", "4")
    assert done.code == 70 and done.seconds < 25


def test_endless_output_is_cut_and_the_run_goes_on(work: Workshop) -> None:
    configure(work, f"yes | head -c 12000000; printf 'x%.0s' $(seq 9000); {PASS}; echo the end")
    done = work.run("run-tests")
    assert done.code == 0 and "the rest of the output is left out" in done.err and "the end" not in done.err
    assert len(done.err) < 10_000_000


def test_the_network_is_there_where_both_files_say_so(work: Workshop) -> None:
    configure(work, f"ls /sys/class/net; {PASS}", network="bridge")
    done = work.run("run-tests")
    assert done.code == 2 and "have not allowed" in done.problem[0]
    work.target()
    assert work.run("run-tests").code == 2
    work.target(allow={"test_network": True})
    done = work.run("run-tests")
    assert done.code == 0 and "│ eth0" in done.err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_removes_the_container(work: Workshop, signum: int, code: int) -> None:
    configure(work, "echo begun; trap '' INT TERM; sleep 600")
    before = set(work.containers())
    done = work.interrupt("│ begun", "run-tests", signum=signum)
    assert done.code == code and done.seconds < 20 and done.result["outcome"] == "interrupted"
    assert set(work.containers()) <= before and not list(work.temporary.iterdir())


def test_what_a_killed_run_leaves_is_swept_by_a_later_one(work: Workshop) -> None:
    configure(work, "echo begun; sleep 600")
    before = set(work.containers())
    killed = work.interrupt("│ begun", "run-tests", signum=signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    (left,) = set(work.containers()) - before
    with contextlib.closing(work.engine) as engine:
        # Its time has not come yet; that of one like it has.
        config = engine.create_container_config(
            work.run("build-image", "--variant", "test").result["images"][0]["id"], ["true"],
            labels={"org.cdlib.expires": str(int(time.time()) - 1)},
        )  # fmt: skip
        engine.create_container_from_config(config, f"cdlib-test-old-{work.name}")
        configure(work, PASS)
        done = work.run("run-tests")
        assert done.code == 0 and f"cdlib-test-old-{work.name}" in done.err
        names = work.containers()
        assert f"/cdlib-test-old-{work.name}" not in names and left in names
        engine.remove_container(left.lstrip("/"), force=True, v=True)


def test_a_dry_run_makes_no_container(work: Workshop) -> None:
    configure(work, "touch /reports/x")
    done = work.run("run-tests", "--dry-run")
    assert done.code == 0 and done.result["outcome"] == "planned" and "would run sh -c" in done.err
    assert done.err.count("would ") == 2


def test_tests_of_uncommitted_changes(work: Workshop) -> None:
    configure(work, "exit 9")
    (work.folder / "cd.yaml").write_text(json.dumps({"service": work.name, "test": {"command": ["sh", "-c", PASS]}}))
    assert work.run("run-tests").code == 4
    done = work.run("run-tests", "--dirty")
    assert done.code == 0 and done.result["images"][0]["dirty"]


def test_no_docker_and_a_folder_that_points_elsewhere(work: Workshop, tmp_path: Path) -> None:
    configure(work, PASS)
    (work.folder / ".cd").mkdir(exist_ok=True)
    (work.folder / ".cd" / "reports").symlink_to(tmp_path)
    done = work.run("run-tests")
    assert done.code == 2 and "symbolic link" in done.problem[0]
    (work.folder / ".cd" / "reports").unlink()
    work.env["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    done = work.run("run-tests")
    assert done.code == 69 and "no Docker Engine answers" in done.problem[0]


def test_a_build_that_fails_fails_the_tests_as_a_build(work: Workshop) -> None:
    work.write(Dockerfile=(work.folder / "Dockerfile").read_text().replace("COPY", "RUN exit 9\nCOPY"))
    configure(work, PASS)
    assert work.run("run-tests").code == 3
    assert (
        subprocess.run(["git", "-C", str(work.folder), "status", "--porcelain"], capture_output=True, check=True).stdout
        == b""
    )
