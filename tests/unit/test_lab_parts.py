"""The lab's parts that can be seen to work without any server."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from cdlib.errors import Unavailable, UsageProblem
from lab import (
    base,
    down,
    firewall,
    given,
    golang,
    images,
    lock,
    packages,
    pki,
    plan,
    ports,
    probes,
    processes,
    sandbox,
    settings,
)
from lab.layout import DEFAULT_ROOT, Layout, layout
from lab.tools import EXTRAS, TOOLS


@pytest.fixture
def place(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "lab")


def test_lab_root_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert layout({"LAB_ROOT": "here"}).root == tmp_path / "here"
    assert str(layout({}).root) == DEFAULT_ROOT


def test_each_lab_root_has_a_cgroup_of_its_own(place: Layout) -> None:
    assert layout({}).cgroup == "cdlab"
    assert place.cgroup not in ("cdlab", Layout(place.root / "other").cgroup)


class TestProcesses:
    def test_a_process_is_known_by_pid_and_start(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert child.stdin
        found = processes.known(child.pid)
        assert found and found.alive
        assert found in processes.children(os.getpid())
        recycled = processes.Process(child.pid, found.start + 1)
        assert not recycled.alive
        recycled.send(signal.SIGKILL)
        assert child.poll() is None, "another process of the same pid must not be hit"
        found.send(signal.SIGKILL)
        assert child.wait(5) == -signal.SIGKILL
        child.stdin.close()
        assert not found.alive
        found.send(signal.SIGKILL)

    def test_a_namespace_knows_its_inhabitants(self) -> None:
        here = processes.namespace("self")
        assert os.getpid() in {process.pid for process in processes.inhabitants(here).values()}
        assert processes.inhabitants("") == {}

    def test_a_command_is_shown_as_it_was_called(self) -> None:
        assert processes.command(os.getpid()) == " ".join(sys.orig_argv)


class TestRecord:
    def test_the_supervisor_is_found_by_its_record(self, place: Layout) -> None:
        place.run.mkdir(parents=True)
        assert down.supervisor(place) is None
        own = processes.known(os.getpid())
        assert own
        record = {"boot": processes.boot(), "pid": own.pid, "start": own.start}
        plan.write_json(place.record, record)
        assert down.supervisor(place) == own

    @pytest.mark.parametrize("change", [{"boot": "another"}, {"start": 1}])
    def test_a_record_of_another_boot_or_process_is_nobody_s(self, place: Layout, change: dict[str, object]) -> None:
        place.run.mkdir(parents=True)
        own = processes.known(os.getpid())
        assert own
        plan.write_json(place.record, {"boot": processes.boot(), "pid": own.pid, "start": own.start, **change})
        assert down.supervisor(place) is None


class TestPorts:
    def test_a_taken_port_is_named_with_its_owner(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = plan.Server("registry", ("x",), ports=(("127.0.0.1", port),))
            with pytest.raises(UsageProblem) as problem:
                ports.require_free([server])
        assert f"port {port} (registry) is taken by process {os.getpid()}" in problem.value.message

    def test_a_free_port_is_fine(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        ports.require_free([plan.Server("registry", ("x",), ports=(("127.0.0.1", port),))])

    @pytest.mark.parametrize(
        ("listens", "wanted", "clash"),
        [
            ("0.0.0.0", "127.0.0.1", True),
            ("::", "127.0.0.1", True),
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "10.244.0.1", False),
            ("::1", "127.0.0.1", False),
        ],
    )
    def test_which_addresses_clash(self, listens: str, wanted: str, clash: bool) -> None:
        assert ports.Listener(listens, 5000, "1").clashes(wanted, 5000) is clash
        assert not ports.Listener(listens, 5000, "1").clashes(wanted, 5001)

    def test_the_kernel_s_table_is_read(self, tmp_path: Path) -> None:
        head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        row = "   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
        (tmp_path / "tcp").write_text(head + row + row.replace(" 0A ", " 01 "))
        assert ports.listeners(tmp_path) == [ports.Listener("127.0.0.1", 5000, "4711")]


class TestFirewall:
    BEFORE = """*nat
:PREROUTING ACCEPT [0:0]
:KUBE-OLD - [0:0]
-A PREROUTING -j KUBE-OLD
COMMIT
"""
    NOW = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-OLD - [0:0]
:KUBE-SERVICES - [0:0]
:DOCKER - [0:0]
-A PREROUTING -j KUBE-OLD
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j DOCKER
-A PREROUTING -s 192.168.7.0/24 -j ACCEPT
-A POSTROUTING -s 10.245.0.0/24 ! -o cdlab-docker0 -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-OLD
-A DOCKER -i cdlab-docker0 -j RETURN
COMMIT
"""

    def test_only_what_the_lab_added_goes(self) -> None:
        now, before = firewall.parse(self.NOW)["nat"], firewall.parse(self.BEFORE)["nat"]
        assert firewall.removal(now, before) == [
            '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
            "-D PREROUTING -j DOCKER",
            "-D POSTROUTING -s 10.245.0.0/24 ! -o cdlab-docker0 -j MASQUERADE",
            "-F KUBE-SERVICES",
            "-F DOCKER",
            "-X KUBE-SERVICES",
            "-X DOCKER",
        ]

    def test_chains_that_another_docker_uses_stay(self) -> None:
        text = self.NOW.replace("COMMIT", "-A DOCKER -i docker0 -j RETURN\nCOMMIT")
        lines = firewall.removal(firewall.parse(text)["nat"], firewall.Table(), ["lo", "docker0"])
        assert "-X DOCKER" not in lines and "-D PREROUTING -j DOCKER" not in lines
        assert "-D DOCKER -i cdlab-docker0 -j RETURN" in lines

    def test_nothing_new_needs_nothing(self) -> None:
        table = firewall.parse(self.NOW)["nat"]
        assert firewall.removal(table, table) == []


class TestPlan:
    def test_a_plan_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        server = plan.Server(
            "a", ("x", "--y"), plan.Probe("http://z", identity="i"), ("b",), (("127.0.0.1", 1),), "here", {"K": "v"}
        )
        job = plan.Server("b", ("y",), job=True)
        written = plan.Plan((server, job), {"docker": "unix:///x"})
        written.write(tmp_path / "plan.json")
        assert plan.read(tmp_path / "plan.json") == written
        assert written.names == {"a"}

    def test_no_plan_is_an_empty_one(self, tmp_path: Path) -> None:
        assert plan.read(tmp_path / "none").servers == ()


class TestProbes:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/good" else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()

    def test_http(self, port: int) -> None:
        now = datetime.now(UTC)
        good, bad = (
            plan.Server("a", ("x",), plan.Probe(f"http://127.0.0.1:{port}{path}")) for path in ("/good", "/bad")
        )
        assert probes.serves(good, now)
        assert not probes.serves(bad, now)
        assert probes.serves(plan.Server("a", ("x",), ports=(("127.0.0.1", port),)), now)
        assert not probes.serves(plan.Server("a", ("x",), plan.Probe(socket="/no/such")), now)

    @pytest.mark.parametrize(
        ("status", "beat", "ready"),
        [
            ("True", "12:00:05", True),
            ("True", "12:00:00", True),
            ("True", "11:59:59", False),
            ("False", "12:00:05", False),
        ],
    )
    def test_a_node_is_ready_once_it_says_so_itself(self, status: str, beat: str, ready: bool) -> None:
        condition = {"type": "Ready", "status": status, "lastHeartbeatTime": f"2026-01-01T{beat}Z"}
        node = {"status": {"conditions": [{"type": "DiskPressure"}, condition]}}
        assert probes.node_ready(node, datetime(2026, 1, 1, 12, 0, 0, 700000, UTC)) is ready
        assert not probes.node_ready({}, datetime.now(UTC))


class TestSettings:
    def test_values_are_quoted_for_a_shell(self) -> None:
        assert settings.exports({"A": "x y"}) == "export A='x y'"

    def test_what_is_given_is_used_and_the_path_grows_once(self, place: Layout) -> None:
        first = settings.settings(place, {"docker": "tcp://d:1"}, {"PATH": "/bin"})
        again = settings.settings(place, {}, {"PATH": first["PATH"]})
        assert first["DOCKER_HOST"] == "tcp://d:1"
        assert first["KUBECONFIG"] == str(place.kubeconfig)
        assert again["PATH"] == first["PATH"] == f"{place.bin}:/bin"


class TestGiven:
    def test_the_lab_s_own_are_not_given(self, place: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(given, "DEFAULT_DOCKER", str(place.root / "none"))
        for name in ("kubernetes_answers", "docker_answers", "registry_answers"):
            monkeypatch.setattr(given, name, lambda _: True)
        own = settings.settings(place, {})
        assert given.find(place, {"registry"}, print, own) == {}

    def test_what_answers_is_given(self, place: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("kubernetes_answers", "docker_answers", "registry_answers"):
            monkeypatch.setattr(given, name, lambda _: True)
        theirs = {"LAB_KUBECONFIG": "/home/me/config", "DOCKER_HOST": "tcp://d:1", "LAB_REGISTRY": "r:5000"}
        assert given.find(place, set(), print, theirs) == {
            "kubernetes": "/home/me/config",
            "docker": "tcp://d:1",
            "registry": "r:5000",
        }

    def test_a_cluster_that_happens_to_be_set_is_left_alone(
        self, place: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(given, "DEFAULT_DOCKER", str(place.root / "none"))
        monkeypatch.setattr(given, "kubernetes_answers", lambda _: True)
        said: list[str] = []
        assert given.find(place, set(), said.append, {"KUBECONFIG": "/home/me/config"}) == {}
        assert "/home/me/config is left alone" in said[0] and "LAB_KUBECONFIG" in said[0]

    def test_what_does_not_answer_is_said(self, place: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(given, "DEFAULT_DOCKER", str(place.root / "none"))
        for name in ("kubernetes_answers", "docker_answers", "registry_answers"):
            monkeypatch.setattr(given, name, lambda _: False)
        theirs = {"LAB_KUBECONFIG": "/home/me/config", "DOCKER_HOST": "tcp://d:1", "LAB_REGISTRY": "r:5000"}
        said: list[str] = []
        assert given.find(place, set(), said.append, theirs) == {}
        assert [line.split("=")[0] for line in said] == list(theirs)

    def test_nobody_answers_where_nobody_listens(self, tmp_path: Path) -> None:
        assert not given.docker_answers(f"unix://{tmp_path}/none")
        assert not given.registry_answers("127.0.0.1:1")
        assert not given.kubernetes_answers(str(tmp_path / "none"))


class TestBase:
    def test_debian_s_own_sources_are_taken(self) -> None:
        lines = [
            "Packages|Debian|http://m/debian/|bookworm-updates|main",
            "Packages|Debian|http://m/debian/|bookworm|main",
            "DEP-11|Debian|http://m/debian/|bookworm|main",
            "Packages|Somebody|http://other/|bookworm|main",
            "Packages|Debian|http://m/security/|bookworm-security|main",
            "Packages|Debian|http://m/debian/|bookworm|contrib",
        ]
        assert base.parse_sources("\n".join(lines)) == [
            "deb http://m/debian/ bookworm main",
            "deb http://m/debian/ bookworm-updates main",
            "deb http://m/security/ bookworm-security main",
        ]

    def test_the_slim_image_does_not_claim_what_only_tests_need(self) -> None:
        status = "Package: python3\nStatus: x\n\nPackage: python3-pytest\nStatus: x\n\nPackage: tar\nStatus: x\n"
        assert base.without_tests(status) == "Package: python3\nStatus: x\n\nPackage: tar\nStatus: x\n"


class TestGo:
    def test_progress_is_shown_in_counts_and_shares(self) -> None:
        assert golang.describe("k 1", 0, 0, 12, 9) == "k 1: 12 modules downloaded, 9 s"
        assert golang.describe("k 1", 431, 1724, 0, 130) == "k 1: 431 of 1724 packages compiled (25 %), 2 min 10 s"

    def test_each_tool_is_pinned_with_checksums(self) -> None:
        for tool in (*TOOLS, *EXTRAS):
            module = golang.MODULES / tool.module
            assert (module / "go.mod").exists()
            assert tool.packages == (".",) or f"v{tool.version} " in (module / "go.sum").read_text()


class TestPackages:
    def test_services_are_held_back_while_packages_are_installed(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy-rc.d"

        def interrupted() -> None:
            with packages.no_services(policy):
                assert subprocess.run([policy], check=False).returncode == 101
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not policy.exists()

    def test_a_policy_that_is_there_stays(self, tmp_path: Path) -> None:
        policy = tmp_path / "policy-rc.d"
        policy.write_text("mine")
        with packages.no_services(policy):
            pass
        assert policy.read_text() == "mine"


def test_one_command_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    inside = threading.Event()

    def second() -> None:
        with lock.held(tmp_path / "lock", said.append):
            inside.set()

    other = threading.Thread(target=second)
    with lock.held(tmp_path / "lock", said.append):
        other.start()
        assert not inside.wait(0.3)
    other.join(5)
    assert inside.is_set() and "waiting" in said[0]


def test_mounts_are_found_below_a_folder(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    rows = ["/", "/a/lab", "/a/lab/x", "/a/lab/with\\040blank", "/a/labor"]
    table.write_text("".join(f"1 1 0:1 / {row} rw - tmpfs x rw\n" for row in rows))
    assert sandbox.mounts_below(Path("/a/lab"), table) == ["/a/lab/with blank", "/a/lab/x", "/a/lab"]


def test_keys_are_private_and_made_once(place: Layout) -> None:
    pki.ensure(place)
    before = {path.name: path.read_bytes() for path in place.pki.iterdir()}
    pki.ensure(place)
    assert before == {path.name: path.read_bytes() for path in place.pki.iterdir()}
    assert {path.stat().st_mode & 0o077 for path in place.pki.iterdir()} == {0}
    authority = x509.load_pem_x509_certificate(before["ca.crt"])
    for subject in pki.SUBJECTS:
        x509.load_pem_x509_certificate(before[f"{subject.name}.crt"]).verify_directly_issued_by(authority)


def test_a_registry_that_is_away_is_said_to_be(place: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        registry = f"127.0.0.1:{taken.getsockname()[1]}"
    (place.root.parent / "program").write_bytes(b"#!")
    calls: list[Callable[[], object]] = [
        lambda: images.base_digest(registry, "3.11"),
        lambda: images.push_base(place, registry, print),
        lambda: images.push_program(place.root.parent / "program", registry, "x"),
    ]
    for call in calls:
        with pytest.raises(Unavailable, match=f"{registry} does not answer") as problem:
            call()
        assert "python -m lab up" in problem.value.hint
