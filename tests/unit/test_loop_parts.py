"""The loop's parts that can be seen to work without any server: keys, configuration, and what Zuul is told."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import stat
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache, partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from cdlib.errors import Unavailable
from cdlib.process import Finished
from cdlib.target import read_targets
from cdlib.trust.approval import read_signers
from cdlib.trust.keys import read_keyring
from lab import down, ports, status, supervisor
from lab.layout import Layout
from lab.loop import cluster, definitions, gitserver, identity, logserver, operators, parts, projects, servers, tokens
from lab.loop.places import CHECKOUT, CLIENTS, EVENTS_AFTER, NAMES, NODES, PRODUCTION, STORES, Places
from lab.plan import Plan, Server


class Accounts:
    """Gerrit's list of accounts."""

    def get(self, *_: object, **__: object) -> list[dict[str, object]]:
        return [{"_account_id": 1, "username": "bob", "email": "bob@example.com"}]


@pytest.fixture(scope="module")
def node_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of the nodes as it is made: RSA, for which the machine looks for primes 0.2 s."""
    made = Places(Layout(tmp_path_factory.mktemp("keys") / "lab"))
    identity.ensure(made)
    return made.keys / "node"


@pytest.fixture
def places(tmp_path: Path, node_key: Path) -> Places:
    """A loop of which nothing is there yet but the nodes' key."""
    made = Places(Layout(tmp_path / "lab"))
    made.keys.mkdir(parents=True)
    for file in (node_key, node_key.with_suffix(".pub")):
        shutil.copy2(file, made.keys)
    return made


class TestPlan:
    def test_every_server_is_shown_and_waits_for_what_is_there(self, places: Places) -> None:
        planned = servers.plan(places.layout, {"kubernetes": "/k"})
        names = {server.name for server in planned}
        assert {server.name for server in planned if not server.job} == set(NAMES)
        assert {before for server in planned for before in server.after} <= names
        assert {*CLIENTS, *STORES, *EVENTS_AFTER} <= names

    def test_a_jenkins_that_is_given_is_not_started(self, places: Places) -> None:
        planned = servers.plan(places.layout, {"kubernetes": "/k", "jenkins": "http://jenkins.example.org"})
        assert "jenkins" not in {server.name for server in planned}
        assert all("jenkins" not in server.after for server in planned)

    def test_the_loop_sets_up_after_the_lab_s_own_cluster(self, places: Places) -> None:
        planned = {server.name: server for server in servers.plan(places.layout, {})}
        assert "apiserver" in planned["loop-setup"].after

    def test_no_two_servers_want_one_port(self, places: Places) -> None:
        wanted = [port for server in servers.plan(places.layout, {}) for _, port in server.ports]
        assert len(wanted) == len(set(wanted))

    def test_configuration_that_holds_passwords_is_its_owner_s_alone(self, places: Places) -> None:
        servers.plan(places.layout, {})
        for path in (places.zuul_conf, places.config / "jenkins.json", places.jenkins_token, places.ssh_key("admin")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def test_zuul_s_executor_gets_a_small_environment(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JENKINS_TOKEN", "s3cret-of-mine")
        executor = next(s for s in servers.plan(places.layout, {}) if s.name == "zuul-executor")
        assert executor.argv[:2] == ("env", "-i") and "s3cret-of-mine" not in " ".join(executor.argv)

    def test_zuul_s_configuration_is_read_by_its_parser(self, places: Places) -> None:
        servers.plan(places.layout, {})
        config = configparser.ConfigParser()
        config.read(places.zuul_conf)
        assert config["connection gerrit"]["password"] == identity.password(places, "zuul")
        assert str(CHECKOUT) in config["executor"]["trusted_ro_paths"]
        assert "untrusted_ro_paths" not in config["executor"], "a change's own playbooks see nothing of this machine"


class TestIdentity:
    def test_keys_and_passwords_stay(self, places: Places) -> None:
        identity.ensure(places)
        before = {path.name: path.read_bytes() for path in places.keys.iterdir()}
        identity.ensure(places)
        assert {path.name: path.read_bytes() for path in places.keys.iterdir()} == before
        assert len({identity.password(places, name) for name in (*identity.USERS, *identity.OTHERS)}) == 10

    def test_a_private_key_belongs_to_its_public_one(self, places: Places) -> None:
        identity.ensure(places)
        key = serialization.load_ssh_private_key(places.ssh_key("alice").read_bytes(), None)
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        assert identity.public_key(places, "alice") == f"{public.decode()} alice"


class TestDefinitions:
    SITE = definitions.Site(
        {
            "cd-jenkins-build": {"url": "http://j", "token": definitions.Encrypted(["abc="])},
            "cd-jenkins-deploy": {"url": "http://j", "token": definitions.Encrypted(["def="])},
        },
        ("one", "two"),
    )

    def test_the_site_s_values_replace_the_examples(self) -> None:
        made = definitions.files(CHECKOUT, self.SITE)
        assert "replace-me" not in "".join(made.values()) and "example.org" not in made["zuul.d/jobs.yaml"]
        assert "token: !encrypted/pkcs1-oaep\n      - abc=" in made["zuul.d/jobs.yaml"]
        text = made["zuul.d/deploy.yaml"].replace("!encrypted/pkcs1-oaep", "")
        allowed = [entry["job"]["allowed-projects"] for entry in yaml.safe_load(text) if "job" in entry]
        assert allowed == [["one", "two"]] * 3

    def test_every_playbook_that_a_job_names_is_there(self) -> None:
        made = definitions.files(CHECKOUT, self.SITE)
        for job in _jobs().values():
            for playbook in _playbooks(job):
                assert playbook in made

    def test_a_secret_that_the_site_does_not_know_is_an_error(self) -> None:
        with pytest.raises(KeyError):
            definitions.adapted("- secret: {name: other, data: {}}\n", self.SITE)


class TestZuulJobs:
    def test_what_deploys_is_out_of_a_change_s_reach(self) -> None:
        for name in ("cd-authorize", "cd-deploy", "cd-node-deploy"):
            job = _jobs()[name]
            assert job["final"] and job["post-review"] and job["allowed-projects"] and job["branches"]
        assert _semaphores()["cd-deploy"] >= 10, "permits expire while deploys of other services are waited for"
        assert _jobs()["cd-deploy"]["semaphores"] == ["cd-deploy"]
        assert _jobs()["cd-deploy"]["dependencies"] == ["cd-authorize"]

    def test_every_job_that_calls_jenkins_aborts_what_it_started(self) -> None:
        for name, job in _jobs().items():
            if job.get("secrets"):
                assert job["final"], f"a child of {name} could leave a trap for its playbooks"
                assert [entry["cleanup"] for entry in job["post-run"]] == [True]

    def test_the_page_comes_after_all_that_has_to_be_told(self) -> None:
        tasks = yaml.safe_load((CHECKOUT / "playbooks" / "cd-jenkins" / "run.yaml").read_text())
        names = [task["name"] for task in tasks]
        made = tasks[names.index("Make the page")]
        assert made["ignore_errors"] and made["timeout"] <= 50, "telling may take 60 of the 120 s that are left"
        assert names.index("Make the page") > names.index("Tell the changes that Jenkins has not told")
        assert names.index("Make the page") > names.index("Return what it made")
        assert names.index("Make the page") < names.index("Link the page") < names.index("Fail where it failed")

    @pytest.mark.parametrize("service", ["hello", "blubberoid"])
    @pytest.mark.parametrize("stage", ["check", "gate", "authorize", "deploy"])
    def test_jenkins_has_the_job_with_a_shorter_limit(self, service: str, stage: str) -> None:
        document = yaml.safe_load((CHECKOUT / "jjb" / "services" / f"{service}.yaml").read_text())
        assert document[0]["project"]["service"] == service
        template = _template(stage)
        inner = template["minutes"] * 60
        outer = _jobs()[f"cd-{stage}"]["timeout"]
        assert inner + 60 < outer - 120, "jenkins-run's own limit, 120 s below Zuul's, is longer than the build's"

    def test_the_pipelines_of_the_template_are_there(self) -> None:
        pipelines = {entry["pipeline"]["name"] for entry in _zuul("pipelines") if "pipeline" in entry}
        templates = [entry["project-template"] for entry in _zuul("jobs") if "project-template" in entry]
        for template in templates:
            assert {name for name, value in template.items() if isinstance(value, dict)} == pipelines
        named = {job for t in templates for value in t.values() if isinstance(value, dict) for job in value["jobs"]}
        assert named == {name for name, job in _jobs().items() if not job.get("abstract")}

    def test_no_project_says_where_a_job_runs(self) -> None:
        """What a job leaves open, a project's own `vars` fill in, in a change that nobody has reviewed."""
        for name, job in _jobs().items():
            inherited = {**_jobs().get(job.get("parent", ""), {}), **job}
            assert inherited["vars"] == {"cd_runner": "zuul" if name.startswith("cd-node") else "jenkins"}

    def test_zuuls_variables_are_read_without_evaluating_them(self) -> None:
        """`zuul.build` evaluates all of `zuul`, with a change's topic, which anybody may set."""
        for file in (CHECKOUT / "playbooks").rglob("*.yaml"):
            lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
            bare = [line for line in lines if re.search(r"(?<![\w'\"/-])zuul\s*(?:\.(?!json)|\[|\|)", line)]
            assert not bare, f"{file}: {bare}"

    def test_who_runs_without_jenkins_needs_no_secret_of_it(self) -> None:
        for name, job in _jobs().items():
            inherited = {**_jobs().get(job.get("parent", ""), {}), **job}
            assert (inherited.get("vars") == {"cd_runner": "zuul"}) == (name.startswith("cd-node"))
            assert not (name.startswith("cd-node") and job.get("secrets"))

    def test_names_cannot_clash_with_a_site_s_own(self) -> None:
        for file in ("jobs", "deploy"):
            for entry in _zuul(file):
                kind, value = next(iter(entry.items()))
                assert value["name"].startswith("cd-"), (kind, value["name"])


@cache
def _zuul(file: str) -> list[dict]:  # type: ignore[type-arg]
    return list(yaml.safe_load((CHECKOUT / "zuul.d" / f"{file}.yaml").read_text()))


@cache
def _jobs() -> dict[str, dict]:  # type: ignore[type-arg]
    found = [entry["job"] for file in ("jobs", "deploy") for entry in _zuul(file) if "job" in entry]
    return {job["name"]: job for job in found}


def _semaphores() -> dict[str, int]:
    return {found["name"]: found["max"] for entry in _zuul("deploy") if (found := entry.get("semaphore"))}


def _playbooks(job: dict) -> Iterator[str]:  # type: ignore[type-arg]
    for phase in ("pre-run", "run", "post-run"):
        entries = job.get(phase, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            yield entry["name"] if isinstance(entry, dict) else entry


@cache
def _template(stage: str) -> dict:  # type: ignore[type-arg]
    text = (CHECKOUT / "jjb" / "templates" / "pipelines.yaml").read_text().replace("!include-raw-verbatim:", "")
    found = [entry["job-template"] for entry in yaml.safe_load(text)]
    return next(template for template in found if template["name"] == f"{{service}}-{stage}")


class TestGitServer:
    def test_a_repository_takes_zuul_s_refs_alone(self, places: Places, tmp_path: Path) -> None:
        gitserver.ensure_repository(places, "group/hello")
        gitserver.ensure_repository(places, "group/hello")
        served = places.repositories / "group" / "hello"
        work = tmp_path / "work"
        git = ("git", "-C", str(work), "-c", "user.name=T", "-c", "user.email=t@example.org")
        subprocess.run(["git", "init", "--quiet", str(work)], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
        push = (*git, "push", "--quiet", str(served))
        subprocess.run([*push, "HEAD:refs/zuul/master/Z1"], check=True)
        refused = subprocess.run([*push, "HEAD:refs/heads/master"], capture_output=True, text=True)
        assert refused.returncode != 0 and "refs/zuul/* alone" in refused.stderr


class TestLogServer:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[tuple[Path, str]]:
        folder = tmp_path / "logs"
        folder.mkdir()
        handler = partial(logserver.Handler, directory=str(folder))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield folder, f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_files_are_shown_and_no_browser_runs_them(self, served: tuple[Path, str]) -> None:
        folder, url = served
        (folder / "a.html").write_text("<script>")
        with urllib.request.urlopen(f"{url}/a.html") as answer:
            assert answer.read() == b"<script>"
            assert "sandbox" in answer.headers["Content-Security-Policy"]

    @pytest.mark.parametrize("path", ["link", "folder/passwd", "../secret"])
    def test_what_lies_elsewhere_is_not(self, served: tuple[Path, str], path: str) -> None:
        folder, url = served
        (folder.parent / "secret").write_text("s")
        (folder / "link").symlink_to(folder.parent / "secret")
        (folder / "folder").symlink_to("/etc")
        with pytest.raises(urllib.error.HTTPError) as problem:
            urllib.request.urlopen(f"{url}/{path}")
        assert problem.value.code == 404
        problem.value.close()


class TestSupervisorRequests:
    def test_what_is_asked_for_is_started(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        for folder in (layout.run, layout.requests, layout.logs):
            folder.mkdir(parents=True, exist_ok=True)
        one, two = Server("one", ("true",), job=True), Server("two", ("true",), after=("one",), job=True)
        watch = supervisor.Supervisor(layout, Plan((one,), {}))
        Plan((one, two), {}).write(layout.plan)
        (layout.requests / "two").touch()
        (layout.requests / "stranger").touch()
        watch._heed_requests()
        assert list(layout.requests.iterdir()) == []
        assert set(watch._entries) == {"one", "two"}
        shown = json.loads(layout.status.read_text())["servers"]
        assert shown["two"]["state"] == "waiting", "who waits sees the new state before the request goes"

    def test_what_runs_is_left_alone(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        layout.requests.mkdir(parents=True)
        server = Server("one", ("true",))
        Plan((server,), {}).write(layout.plan)
        watch = supervisor.Supervisor(layout, Plan((server,), {}))
        watch._entries["one"].state = "up"
        (layout.requests / "one").touch()
        watch._heed_requests()
        assert watch._entries["one"].state == "up"


class TestNetwork:
    """A lab without containers stands beside one that has them, and leaves the machine's network to that."""

    @pytest.fixture
    def layout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
        def untouched(*_: object) -> list[str]:
            raise AssertionError("the network was touched")

        for where in ("network.remove", "network.write_sysctls", "firewall.remove"):
            monkeypatch.setattr(f"lab.{where}", untouched)
        for where in ("network.read_sysctls", "firewall.snapshot"):
            monkeypatch.setattr(f"lab.{where}", dict)
        layout = Layout(tmp_path)
        layout.run.mkdir()
        return layout

    def test_it_is_left_alone(self, layout: Layout) -> None:
        down.remember(layout, containers=False)
        assert down._restore(layout) == []

    def test_it_is_put_back_where_containers_ran(self, layout: Layout) -> None:
        down.remember(layout, containers=True)
        with pytest.raises(AssertionError, match="touched"):
            down._restore(layout)

    def test_a_later_start_with_containers_is_noted(self, layout: Layout) -> None:
        down.remember(layout, containers=False)
        down.remember(layout, containers=True)
        down.remember(layout, containers=False)
        assert down._remembered(layout)["containers"] is True


def test_connections_are_found_by_their_port(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 0100007F:C001 0100007F:72EA 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
    (tmp_path / "tcp").write_text(head + row)
    assert ports.connected(29418, tmp_path)
    assert not ports.connected(29419, tmp_path)
    (tmp_path / "tcp").write_text(head + row.replace(" 01 ", " 06 "))
    assert not ports.connected(29418, tmp_path)


def test_status_shows_the_loop_only_where_it_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.processes.require_root", lambda what: None)
    layout = Layout(tmp_path)
    layout.run.mkdir()
    assert {row.name for row in status.rows(layout)}.isdisjoint(NAMES)
    Plan((Server("gerrit", ("true",)),), {}).write(layout.plan)
    assert {row.name for row in status.rows(layout)} >= set(NAMES)


def test_env_tells_of_the_loop(places: Places) -> None:
    own = places.settings({})
    assert own["JENKINS_TOKEN_FILE"] == str(places.jenkins_token)
    assert "JENKINS_URL" not in places.settings({"jenkins": "http://jenkins.example.org"})


def test_the_agents_see_what_their_jobs_need(places: Places) -> None:
    servers.plan(places.layout, {"kubernetes": "/their/kubeconfig", "docker": "unix:///d", "registry": "r:1"})
    agents = {entry["name"]: entry for entry in json.loads((places.config / "jenkins.json").read_text())["agents"]}
    of_each = {name: agents[name]["env"]["KUBECONFIG"] for name in ("authorize", "deploy")}
    assert len({"/their/kubeconfig", *of_each.values()}) == 3, "each has an account of its own, and no administrator's"
    assert "KUBECONFIG" not in agents["build"]["env"], "an author's Dockerfile runs there"
    assert "/their/kubeconfig" not in (places.config / "sshd_config").read_text(), "and on the node as well"
    assert "DOCKER_HOST" not in agents["authorize"]["env"]


def test_production_is_signed_and_each_key_may_say_one_thing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.config.mkdir(parents=True)
    identity.ensure(places)
    commits = {"hello": "1" * 40, "apart": "2" * 40}
    monkeypatch.setattr(projects, "head", lambda _, project: commits[project])
    monkeypatch.setattr(operators, "rest", lambda *_: Accounts())
    (places.gerrit / "etc").mkdir(parents=True)
    (places.gerrit / "etc" / "gerrit.config").write_text("[gerrit]\n\tserverId = s\n[user]\n\temail = g@example.com\n")
    operators.write(places, "localhost:5000", {"hello": PRODUCTION, "apart": NODES})
    targets = {target.service: target for target in read_targets(places.targets)}
    assert targets["hello"].project == "hello" and str(targets["hello"].image) == "localhost:5000/hello"
    assert targets["hello"].environment("").policy == "signed" and targets["apart"].environment("").policy == "none"
    assert {len(keys) for keys in read_keyring(targets["hello"].keys).values()} == {1}
    assert targets["hello"].gerrit and targets["hello"].gerrit.allowed_signers
    assert set(read_signers(targets["hello"].gerrit.allowed_signers).names.values()) == {"bob"}
    commits["hello"] = "3" * 40
    operators.write(places, "localhost:5000", {"hello": PRODUCTION})
    review = read_targets(places.targets)[0].review
    assert review and review.since == "1" * 40, "what came later is judged"
    operators.believe(places, "hello")
    operators.write(places, "localhost:5000", {"hello": PRODUCTION})
    review = read_targets(places.targets)[0].review
    assert review and review.since == "3" * 40


def test_an_agent_reaches_the_cluster_by_a_token_and_nothing_of_the_administrator_s(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = {
        "clusters": [{"name": "theirs", "cluster": {"server": "https://k"}}],
        "users": [{"name": "root", "user": {"token": "the-administrator-s"}}],
    }
    said = {"cd-rights": "kind: X", "apply": "", "config": json.dumps(admin), "create": "t0ken\n",
            "get": "serviceaccount/cd-deploy-production\n"}  # fmt: skip
    asked: list[list[str]] = []

    def run(argv: list[str], *_: object, **__: object) -> Finished:
        asked.append(argv)
        return Finished(tuple(argv), 0, next(said[word] for word in [Path(argv[0]).name, *argv] if word in said), (), 0)

    monkeypatch.setattr(cluster.process, "run", run)
    cluster.grant(places, {})
    for agent in cluster.AGENTS:
        document = json.loads(cluster.kubeconfig(places, agent).read_text())
        assert document["clusters"] == admin["clusters"] and "the-administrator-s" not in json.dumps(document)
        assert (places.accounts / f"{agent}.token").exists() == (agent == "deploy"), "others have no account yet"
    assert (places.accounts / "deploy.token").read_text() == "t0ken"
    assert not any("t0ken" in word for argv in asked for word in argv)


def test_tokens_that_cannot_be_renewed_are_tried_again_soon(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems: list[Exception] = [Unavailable("the cluster is away", hint="wait"), OSError(28, "No space left")]

    def fail(*_: object) -> None:
        raise problems.pop(0)

    monkeypatch.setattr(cluster, "renew_tokens", fail)
    assert tokens.renew(places) == tokens.renew(places) < 60
    said = capsys.readouterr().err
    assert "the cluster is away" in said and "No space left" in said
    monkeypatch.setattr(cluster, "renew_tokens", lambda *_: None)
    assert 60 < tokens.renew(places) < 3600


def test_git_is_one_account_and_nobody_else(places: Places) -> None:
    env = projects.environment(places, "alice")
    assert str(places.ssh_key("alice")) in env["GIT_SSH_COMMAND"]
    assert env["GIT_CONFIG_GLOBAL"] == "/dev/null"


def test_another_list_of_what_goes_in_makes_another_folder(places: Places, tmp_path: Path) -> None:
    pinned = tmp_path / "lock"
    pinned.write_text("one==1\n")
    part = parts.Part("zuul", "1", pinned)
    before = part.folder(places.layout)
    pinned.write_text("one==2\n")
    assert part.folder(places.layout) != before
