"""That a project's own variables steer Ansible nowhere: each play says itself how it runs, and to real ansible-core."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdlib import process
from cdlib.deadline import Deadline
from lab.layout import Layout
from lab.loop import zuul
from lab.loop.parts import HERE
from lab.loop.places import CHECKOUT, Places

PLAYBOOKS = CHECKOUT / "playbooks"
SETTINGS = PLAYBOOKS / "cd-settings"
# What ansible-core asks of variables: for each kind of plugin that a play can meet here, and by itself.
ASKS = """
import json, sys
from ansible import constants as C
from ansible.plugins.loader import become_loader, connection_loader, init_plugin_loader, shell_loader
init_plugin_loader()
found = {}
for kind, loader, name in (("connection", connection_loader, "local"), ("connection", connection_loader, "ssh"),
                           ("shell", shell_loader, "sh"), ("become", become_loader, "sudo")):
    loader.get(name, class_only=True)
    found[name] = C.config.get_plugin_vars(kind, name)
found["base"] = [v["name"] for d in C.config.get_configuration_definitions().values() for v in d.get("vars") or ()]
found["magic"] = [name for names in C.MAGIC_VARIABLE_MAPPING.values() for name in names]
json.dump(found, sys.stdout)
"""
# Those that change nothing here, and why.
NO_MATTER = {
    "_ansible_coverage_remote_output",  # asked where ANSIBLE_COVERAGE_CONFIG is set, which is the site's
    "ansible_win_async_startup_timeout",  # Windows
    "inventory_hostname",  # Ansible's own, whatever a project says
    "ansible_network_os", "ansible_connection_user", "ansible_docker_extra_args",  # connections that are not used
    # Without `become` nobody is asked for a password, and which plugin would read these is said.
    "ansible_become_password", "ansible_become_pass", "ansible_sudo_exe", "ansible_sudo_flags", "ansible_sudo_pass",
    "ansible_sudo_user",
}  # fmt: skip
LOCAL = {"ansible_user", "ansible_password", "ansible_private_key_file"}  # a connection that is local reads none
ZUULS = {
    "ansible_connection", "ansible_host", "ansible_port", "ansible_user",  # Zuul says them of the host
    "ansible_python_interpreter", "ansible_shell_executable",  # Zuul takes them from no project
    "ansible_password", "ansible_ssh_pass", "ansible_ssh_password", "ansible_sshpass_prompt",  # keys count here
    "ansible_control_path", "ansible_control_path_dir",  # where the socket is: nothing is run by it
    "delegated_vars['ansible_host']", "delegated_vars['ansible_ssh_host']",
}  # fmt: skip


@cache
def asked() -> dict[str, set[str]]:
    """The names of variables that ansible-core asks for, by who asks."""
    done = process.run([sys.executable, "-c", ASKS], Deadline(60))
    assert done.ok, done.stderr
    return {who: set(names) for who, names in json.loads(done.stdout).items()}


def plays() -> list[tuple[Path, dict[str, Any]]]:
    """Every play, with its file."""
    found = []
    for file in sorted(PLAYBOOKS.rglob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        found += [(file, entry) for entry in document if isinstance(entry, dict) and "hosts" in entry]
    assert len(found) > 15
    return found


def settled(kind: str) -> dict[str, Any]:
    return {
        name: value
        for file in ("all", kind)
        for name, value in yaml.safe_load((SETTINGS / f"{file}.yaml").read_text()).items()
    }


def test_every_play_says_how_it_runs() -> None:
    for file, play in plays():
        kind = "localhost" if play["hosts"] == "localhost" else "node"
        # Names without a template: what is filled in could be filled in by a project.
        assert play["vars_files"] == ["../cd-settings/all.yaml", f"../cd-settings/{kind}.yaml"], file
        assert all((file.parent / path).is_file() for path in play["vars_files"]), "Ansible passes over a missing one"
        assert play["gather_facts"] is False and not {"become", "connection", "environment"} & play.keys()


def test_all_that_ansible_asks_is_settled() -> None:
    ask = asked()
    assert "ansible_remote_tmp" in ask["sh"] and "ansible_become_exe" in ask["sudo"], "nobody was asked"
    common = ask["sh"] | ask["sudo"] | ask["base"]
    here = {name for name in ask["magic"] if not name.startswith(("ansible_ssh_", "ansible_sftp_", "ansible_scp_"))}
    assert common | ask["local"] | here <= settled("localhost").keys() | NO_MATTER | LOCAL
    assert common | ask["ssh"] | ask["magic"] <= settled("node").keys() | NO_MATTER | ZUULS


def test_the_same_ansible_as_in_the_lab() -> None:
    ours, labs = (CHECKOUT / "constraints.txt").read_text(), (HERE / "ansible-requirements.lock").read_text()
    (pinned,) = (line for line in ours.splitlines() if line.startswith("ansible-core=="))
    assert pinned in labs.splitlines()


class Executor:
    """A job's folder as Zuul's executor makes it, and Ansible run in there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.env = folder, dict[str, str]()
        self.pwned, self.ran = folder / "pwned", folder / "ran"
        for name in ("ansible/group_vars", "work/logs", "work/src/p", "home", "bin", "library"):
            (folder / name).mkdir(parents=True)
        self._program("bin/jenkins-run", f'cat > /dev/null; echo "$*" > {self.ran}')
        self._program("bin/cd-report", "true")
        secret = {"url": "http://j", "user": "u", "token": "t", "source_url": "git://x", "commands": f"{folder}/bin"}
        self._dump("ansible/group_vars/all.yaml", {"cd_jenkins": secret})
        places = {"log_root": f"{folder}/work/logs", "work_root": f"{folder}/work"}
        zuul = {"build": "b", "buildset": "s", "job": "cd-check", "timeout": 600, "pipeline": "check", "items": [],
                "project": {"name": "p", "short_name": "p", "src_dir": "src/p"}, "executor": places}  # fmt: skip
        self._dump("zuul_vars.yaml", {"zuul": zuul})
        # Zuul's own is an action of Zuul's.
        self._program("library/zuul_return", "echo '{}'")

    def run(self, playbook: Path, variables: dict[str, Any], *, host: bool = False) -> process.Finished:
        """Run a playbook with a project's variables, where Zuul puts them, or closer still: as the host's own."""
        hosts = {"localhost": {"ansible_connection": "local", **variables}} if host else {}
        self._dump("ansible/inventory.yaml", {"all": {"hosts": hosts, "vars": variables}})
        env = {
            "HOME": f"{self.folder}/home",
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "ANSIBLE_INVENTORY": f"{self.folder}/ansible/inventory.yaml",
            "ANSIBLE_LIBRARY": f"{self.folder}/library",
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": f"{self.folder}/cache",
            "ANSIBLE_LOCAL_TEMP": f"{self.folder}/work/tmp",
            **self.env,
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), str(program), str(playbook)]
        return process.run([*argv, "-e", f"@{self.folder}/zuul_vars.yaml"], Deadline(60), cwd=self.folder / "work")

    def hostile(self) -> dict[str, Any]:
        """Every variable that Ansible asks for, with a command that says its name."""
        names = set().union(*asked().values()) - {"ansible_connection"}
        said = {name: f"/x$(echo {name} >> {self.pwned})" for name in sorted(names) if name.isidentifier()}
        run = f"sh -c 'echo exe >> {self.pwned}' x"
        return {**said, "ansible_become": True, "ansible_become_exe": run, "ansible_become_method": "sudo"}

    def _program(self, name: str, script: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def _dump(self, name: str, document: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(document))


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    return Executor(tmp_path)


@pytest.mark.parametrize("host", [False, True])
def test_a_projects_variables_run_nothing(executor: Executor, host: bool) -> None:
    done = executor.run(PLAYBOOKS / "cd-check" / "run.yaml", {**executor.hostile(), "cd_runner": "jenkins"}, host=host)
    assert not executor.pwned.exists(), executor.pwned.read_text()
    assert done.ok, done.stdout
    assert "--job p-check " in executor.ran.read_text()


@pytest.mark.parametrize("variables", [
    {"ansible_remote_tmp": "/tmp/x$(echo tmp >> PWNED)"},
    {"ansible_become": True, "ansible_become_exe": "sh -c 'echo exe >> PWNED' x", "ansible_become_user": "nobody"},
])  # fmt: skip
def test_without_the_settings_they_would(executor: Executor, variables: dict[str, Any]) -> None:
    """So that the test above would see it."""
    bare = executor.folder / "bare.yaml"
    bare.write_text("- {hosts: localhost, gather_facts: false, tasks: [{command: 'true'}]}\n")
    said = {name: str(value).replace("PWNED", str(executor.pwned)) for name, value in variables.items()}
    executor.run(bare, said)
    assert executor.pwned.exists()


def test_our_own_names_are_not_a_projects_to_say(executor: Executor) -> None:
    """What Jenkins is asked, where, and by which program is said by the job's secret, by Zuul and by the playbooks."""
    evil = f"{executor.folder}/evil"
    names = yaml.safe_load((PLAYBOOKS / "cd-jenkins" / "names.yaml").read_text())
    said = dict.fromkeys([*names, "cd_stage", "cd_parameters", "zuul", "cd_run"], evil)
    secret = {"url": evil, "user": evil, "token": evil, "source_url": evil, "commands": evil}
    done = executor.run(PLAYBOOKS / "cd-check" / "run.yaml", {**said, "cd_jenkins": secret, "cd_runner": "jenkins"})
    assert done.ok, done.stdout
    assert "--job p-check --request s-cd-check " in executor.ran.read_text() and evil not in executor.ran.read_text()


def test_no_fact_takes_the_secrets_place(executor: Executor) -> None:
    """Facts go before a secret, and Zuul keeps localhost's where all of a job's playbooks can write."""
    (executor.folder / "cache").mkdir()
    secret = {"url": "u", "user": "u", "token": "t", "source_url": "u", "commands": f"{executor.folder}/evil"}
    facts = {"module_setup": True, "cd_jenkins": secret}
    for playbook in ("run", "abort"):
        (executor.folder / "cache" / "localhost").write_text(json.dumps(facts))
        executor.ran.unlink(missing_ok=True)
        done = executor.run(PLAYBOOKS / "cd-check" / f"{playbook}.yaml", {"cd_runner": "jenkins"})
        assert done.ok and "--job p-check " in executor.ran.read_text(), done.stdout


def test_no_plugin_is_taken_from_the_jobs_home(executor: Executor) -> None:
    """Zuul's executor hands its environment on to Ansible; with the lab's, a job's home has no plugins."""
    plugins = executor.folder / "home" / ".ansible" / "plugins" / "vars"
    plugins.mkdir(parents=True)
    (plugins / "evil.py").write_text(f"open({str(executor.pwned)!r}, 'w').close()\n")
    said = next(s for s in zuul.servers(Places(Layout(executor.folder))) if s.name == "zuul-executor").argv
    executor.env = dict(word.split("=", 1) for word in said if word.startswith("ANSIBLE_"))
    done = executor.run(PLAYBOOKS / "cd-check" / "run.yaml", {"cd_runner": "jenkins"})
    assert done.ok and not executor.pwned.exists(), done.stdout


@pytest.mark.parametrize("host", [False, True])
def test_who_runs_is_not_evaluated(executor: Executor, host: bool) -> None:
    """A forged `cd_runner` may be a template, and the job's secret is there when the playbooks ask for it."""
    evil = f"{{{{ lookup('pipe', 'echo {{{{ cd_jenkins.token }}}} > {executor.pwned}; echo zuul') }}}}"
    said = {"cd_runner": evil, "groups": {"all": ["node"]}}
    done = executor.run(PLAYBOOKS / "cd-check" / "run.yaml", said, host=host)
    assert not executor.pwned.exists()
    assert done.ok and "--job p-check " in executor.ran.read_text(), done.stdout


def test_without_a_node_zuul_runs_nothing(executor: Executor) -> None:
    done = executor.run(PLAYBOOKS / "cd-check" / "run.yaml", {"cd_runner": "zuul"})
    assert not done.ok and "this job has no node" in done.stdout and not executor.ran.exists()
