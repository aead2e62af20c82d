"""The commands as they are started: their streams, their folders, their options, and what they leave where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdlib import VERSION
from cdlib.documents import schema_mistakes

BIN = Path(sys.executable).parent
TARGETS = """\
version: 1
environments: {staging: {}}
services:
  deployer:
    image: registry.example.org/deployer
    environments: {staging: {namespace: staging, release: deployer}}
"""


@dataclass
class Desk:
    """A folder with a service that has no commit, and commands that are started in it by a shell."""

    folder: Path
    targets: Path

    def run(self, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        known = {k: v for k, v in os.environ.items() if not k.startswith(("CD_", "ZUUL_", "JENKINS_", "OTEL_"))}
        env = {**known, "CD_TARGETS": str(self.targets), "PATH": f"{BIN}:{os.environ['PATH']}", **variables}
        return subprocess.run(
            ["bash", "-c", f"ulimit -v 4000000; set -o pipefail; {line}"], cwd=self.folder, env=env, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip

    def result(self, *below: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.folder.joinpath(".cd", *below, "cd-result.json").read_text())
        assert schema_mistakes(found, "result") == []
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "service").mkdir()
    (tmp_path / "targets.yaml").write_text(TARGETS)
    return Desk(tmp_path / "service", tmp_path / "targets.yaml")


def told(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """The error, which has all of `words`, a hint, and nothing of Python's."""
    assert done.returncode == code, done.stderr
    assert "next: " in done.stderr and "Traceback" not in done.stderr and "a defect of ours" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


class TestStreams:
    @pytest.mark.parametrize("where", ["> /dev/full", ">&-", "| true"])
    @pytest.mark.parametrize(("command", "code"), [("cd-rights", 0), ("build-image --json", 2)])
    def test_stdout_that_cannot_be_written_changes_no_exit_code(
        self, desk: Desk, where: str, command: str, code: int
    ) -> None:
        waits = f"{{ sleep 0.3; {command}; }}" if "|" in where else command  # so that nobody reads any more
        done = desk.run(f"{waits} {where}")
        assert done.returncode == code, done.stderr
        assert "warning: stdout could not be written" in done.stderr and "Traceback" not in done.stderr
        assert desk.result(*(["rights"] if command == "cd-rights" else []))["exit_code"] == code

    def test_stderr_that_is_closed_costs_nothing(self, desk: Desk) -> None:
        done = desk.run("cd-rights 2>&-")
        assert done.returncode == 0 and list(yaml.safe_load_all(done.stdout))
        lines = (desk.folder / ".cd" / "rights" / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["event"] for line in lines] == ["run_start", "run_end"]
        assert desk.run("build-image 2>&- <&-").returncode == 2 and desk.result()["exit_code"] == 2


class TestSecrets:
    @pytest.mark.parametrize(
        "variables",
        [{"GIT_AUTHOR_NAME": "deployer"}, {"CHANGE_AUTHOR": "deployer"}, {"DB_PASSWORD": "staging"}],
    )  # fmt: skip
    @pytest.mark.parametrize("more", ["", " --json"])
    def test_manifests_are_whole_whatever_the_environment_hides(
        self, desk: Desk, variables: Mapping[str, str], more: str
    ) -> None:
        plain, seen = desk.run(f"cd-rights{more}"), desk.run(f"cd-rights{more}", **variables)

        def objects(done: subprocess.CompletedProcess[str]) -> Any:
            return json.loads(done.stdout)["objects"] if more else list(yaml.safe_load_all(done.stdout))

        assert seen.returncode == 0 and "[hidden]" not in seen.stdout and objects(seen) == objects(plain)
        assert desk.result("rights")["objects"] == objects(plain)

    def test_a_secret_is_hidden_in_its_errors_all_the_same(self, desk: Desk) -> None:
        done = desk.run("cd-rights --service hunter2hunter2 --json", DB_PASSWORD="hunter2hunter2")
        assert done.returncode == 2 and "hunter2hunter2" not in done.stdout + done.stderr

    def test_a_path_is_told(self, desk: Desk) -> None:
        done = desk.run("jenkins-run --job x --url http://127.0.0.1:1 --token-file /nonexistent/abc")
        told(done, 2, "/nonexistent/abc: No such file")


class TestFolders:
    @pytest.mark.parametrize(
        ("command", "name"),
        [("cd-status", "status"), ("cd-rights", "rights"), ("cd-hold", "hold"), ("cd-hold --set no", "hold"),
         ("helm-rollback --list", "list"), ("cd-report --dora", "report"),
         ("cd-approve 7 --key none -e staging --url http://127.0.0.1:1 --timeout 3", "approve")],
    )  # fmt: skip
    def test_what_is_no_step_of_a_run_takes_no_run_s_place(self, desk: Desk, command: str, name: str) -> None:
        assert desk.run("build-image").returncode == 2
        before = {file: file.read_bytes() for file in (desk.folder / ".cd").iterdir() if file.is_file()}
        done = desk.run(command, KUBECONFIG="/nonexistent", HOME="/nonexistent")
        assert {file: file.read_bytes() for file in before} == before and len(before) == 3
        assert desk.result(name)["exit_code"] == done.returncode
        assert desk.run("cd-report").returncode == 0
        assert "build-image" in (desk.folder / ".cd" / "report.html").read_text()
        assert desk.result("report")["shows"] == "misconfigured"

    @pytest.mark.parametrize("command", ["cd-status", "cd-rights", "helm-rollback --list", "cd-hold"])
    def test_looking_needs_no_folder_that_can_be_written(self, desk: Desk, command: str) -> None:
        there = desk.run(command, KUBECONFIG="/nonexistent", HOME="/nonexistent")
        subprocess.run(["rm", "-r", str(desk.folder / ".cd")], check=True)
        (desk.folder / ".cd").write_text("in the way")
        done = desk.run(command, KUBECONFIG="/nonexistent", HOME="/nonexistent")
        assert (done.returncode, done.stdout) == (there.returncode, there.stdout)
        assert "warning: nothing is kept of this run" in done.stderr
        assert done.stderr.count("warning: ") == there.stderr.count("warning: ") + 1, "and it is said once"

    @pytest.mark.parametrize("command", ["build-image", "cd-hold --set no", "helm-rollback"])
    def test_what_writes_says_how_to_name_another_folder(self, desk: Desk, command: str) -> None:
        (desk.folder / ".cd").write_text("in the way")
        told(desk.run(command), 2, "by --out DIR (CD_OUT)")

    def test_an_empty_out_is_the_default(self, desk: Desk) -> None:
        assert desk.run("build-image --out ''").returncode == 2
        assert sorted(each.name for each in desk.folder.iterdir()) == [".cd"]


def refused(desk: Desk, command: str, word: str) -> None:
    """See that the command reads neither a device nor a pipe that nobody writes to."""
    os.mkfifo(desk.folder / "fifo")
    for file in ("/dev/zero", "fifo"):
        done = desk.run(f"ulimit -v 1000000; timeout 40 {command.format(file)} --timeout 15")
        told(done, 2, f"{word} {file} is no file, but a device or a pipe")


class TestFiles:
    """What a command is told to read may be anything; 1 GB of memory and a moment have to do for all of it."""

    @pytest.mark.parametrize(
        ("command", "word"),
        [("cd-rights --targets {}", "targets file"), ("gerrit-comment --url http://127.0.0.1:1 --result {}", "result file"),
         ("jenkins-run --url http://127.0.0.1:1 --job x --token-file {}", "JENKINS_TOKEN_FILE"),
         ("jenkins-run --url http://127.0.0.1:1 --job x --params-file {}", "--params-file"),
         ("cd-approve 7 -e staging --url http://127.0.0.1:1 --key {}", "the key"),
         ("env CD_ZUUL={} cd-report --out out .", "CD_ZUUL")],
    )  # fmt: skip
    def test_what_is_no_file_is_not_read(self, desk: Desk, command: str, word: str) -> None:
        refused(desk, command, word)
        done = desk.run(f"truncate --size 3G large; ulimit -v 1000000; timeout 20 {command.format('large')}")
        told(done, 2, f"{word} large is larger than")
        told(desk.run(command.format("/nonexistent/abc")), 2, f"{word} /nonexistent/abc: No such file")

    @pytest.mark.parametrize(
        ("command", "word"), [("cd-status --audit {}", "the audit record"), ("cd-report {}", "events")]
    )
    def test_of_what_may_be_large_only_a_file_is_read(self, desk: Desk, command: str, word: str) -> None:
        refused(desk, command, word)
        done = desk.run(f"truncate --size 1G large; ulimit -v 1000000; timeout 50 {command.format('large')}")
        assert done.returncode in (2, 6) and "a defect of ours" not in done.stderr

    def test_a_pipe_that_it_was_handed_is_read(self, desk: Desk) -> None:
        assert desk.run(f"cd-rights --targets <(cat {desk.targets})").stdout == desk.run("cd-rights").stdout
        done = desk.run("echo '[]' | jenkins-run --url http://127.0.0.1:1 --job x --params-file /dev/stdin")
        told(done, 2, "/dev/stdin is no object of strings")

    @pytest.mark.parametrize("text", ["", "# nothing yet\n"])
    def test_an_empty_one_is_called_so(self, desk: Desk, text: str) -> None:
        desk.targets.write_text(text)
        told(desk.run("cd-rights"), 2, "targets.yaml is empty")

    def test_one_without_services_grants_nothing(self, desk: Desk) -> None:
        desk.targets.write_text("version: 1\nenvironments: {}\nservices: {}\n")
        told(desk.run("cd-rights"), 2, "has no service, so there is nothing to grant")

    def test_a_link_is_told_to_be_replaced(self, desk: Desk) -> None:
        (desk.folder / "real.yaml").write_text("service: deployer\n")
        desk.run(
            "git init -q && ln -s real.yaml cd.yaml && git add . && git -c user.name=x -c user.email=x commit -qm x"
        )
        told(desk.run("build-image"), 2, "cd.yaml is a symbolic link", "next: commit the file itself in its place")

    def test_a_bare_clone_is_called_so(self, desk: Desk) -> None:
        desk.run(
            "git init -q && git -c user.name=x -c user.email=x commit -q --allow-empty -m x; git clone -q --bare . ../bare"
        )
        told(desk.run("build-image -C ../bare --out out"), 2, "or a bare repository", "by -C DIR")

    def test_a_permit_is_looked_at_before_a_server_is_asked(self, desk: Desk) -> None:
        desk.targets.write_text(TARGETS.replace("registry.example.org", "127.0.0.1:1"))
        desk.run(
            "git init -q && echo 'service: deployer' > cd.yaml && git add . && git -c user.name=x -c user.email=x commit -qm x"
        )
        for command in ("helm-deploy", "helm-rollback"):
            told(desk.run(f"{command} --permit none"), 2, "the permit none: No such file")

    def test_a_cluster_that_cannot_be_seen_is_told_with_what_fits_it(self, desk: Desk) -> None:
        done = desk.run("cd-status", KUBECONFIG="/nonexistent")
        told(done, 2, "next: check the environment's kubeconfig and context")
        assert done.stdout.count("/nonexistent") == 1 and done.stderr.count("/nonexistent") == 1

    def test_an_approver_is_asked_for_their_own_account(self, desk: Desk) -> None:
        done = desk.run("touch key; cd-approve 7 -e staging --url http://127.0.0.1:1 --key key")
        told(done, 2, "CD_GERRIT_USER", "next: set it to your own account")


class TestOptions:
    @pytest.mark.parametrize(
        ("line", "variables", "words"),
        [
            ("build-image --nope", {}, ["No such option", "build-image --help"]),
            ("build-image --builder abc", {}, ["'abc' is not one of", "CD_BUILDER"]),
            ("helm-rollback", {"CD_TO": "abc"}, ["'abc' is not a valid integer", "CD_TO"]),
            ("jenkins-run", {}, ["Missing option '--job'"]),
            ("build-image --timeout nan", {}, ["is no number of seconds"]),
            ("build-image", {"CD_TIMEOUT": "inf"}, ["is not in the range"]),
            ("build-image --timeout 0", {}, ["is not in the range"]),
            ("cd-report --dora --page x", {}, ["--dora makes no page"]),
            ("build-image surplus", {}, ["unexpected extra argument"]),
        ],
    )
    def test_wrong_ones_end_as_all_wrong_use_does(
        self, desk: Desk, line: str, variables: Mapping[str, str], words: list[str]
    ) -> None:
        told(desk.run(line, **variables), 2, "error: ", *words)
        result = desk.result(*(["report"] if "cd-report" in line else []))
        assert (result["outcome"], result["exit_code"]) == ("misconfigured", 2) and words[0] in result["error"][
            "message"
        ]

    def test_they_are_one_json_object_in_the_folder_that_is_named(self, desk: Desk) -> None:
        done = desk.run("build-image --json --nope --out elsewhere")
        assert done.returncode == 2 and json.loads(done.stdout)["error"]["hint"]
        assert json.loads((desk.folder / "elsewhere" / "cd-result.json").read_text()) == json.loads(done.stdout)
        assert desk.run("cd-status --nope").returncode == 2 and desk.result("status")["exit_code"] == 2
        assert desk.run("cd-report --days x").returncode == 2 and desk.result("report")["exit_code"] == 2

    def test_help_and_version(self, desk: Desk) -> None:
        done = desk.run("build-image -h")
        assert done.returncode == 0 and done.stdout == desk.run("build-image --help").stdout
        assert '[default: ""]' not in done.stdout and "CD_BUILDER" in done.stdout and not (desk.folder / ".cd").exists()
        assert desk.run("helm-deploy --help").stdout.count("[default: that of the commit]") == 1
        assert desk.run("build-image --version").stdout == f"build-image {VERSION}\n"
        assert desk.run("build-image").returncode == 2 and desk.result()["version"] == VERSION


@pytest.mark.parametrize(
    "name", ["authorize-deploy", "cd-approve", "cd-report", "gerrit-comment", "helm-rollback", "jenkins-run"]
)
def test_help_says_each_default_once(desk: Desk, name: str) -> None:
    text = " ".join(desk.run(f"{name} --help", COLUMNS="1000").stdout.split())
    assert all(option.count("default: ") <= 1 for option in text.split(" --")), text
