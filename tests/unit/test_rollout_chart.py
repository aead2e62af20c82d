"""Charts and values from a change: what is accepted, and what is not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.reference import Reference
from cdlib.rollout.chart import Chart, check_rendered, hook_events, of_interest, prepare_chart, write_own_values
from cdlib.rollout.verify import plan_requests
from cdlib.service import Deploy, ForeignChart, HttpCheck, Verify
from cdlib.source import open_source
from cdlib.target import Allowed, Environment, Target

IMAGE = Reference("registry.example.org", "hello", digest="sha256:" + "a" * 64)


def environment(**more: Any) -> Environment:
    base = {"name": "production", "namespace": "hello", "release": "hello", "values": (), "url": "", "kubeconfig": None,
            "context": None, "policy": "none", "budget": 180.0, "inconclusive": "rollback", "verify": Verify()}  # fmt: skip
    return Environment(**{**base, **more})


def target(*charts: str) -> Target:
    return Target("hello", "hello", IMAGE, IMAGE, (), Allowed(charts=charts), frozenset())


def deployment(image: str, **meta: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello", **meta}, "spec": spec}


SERVICE = {"kind": "Service", "metadata": {"name": "hello"}, "spec": {"ports": [{"name": "http", "port": 80}]}}


def test_workloads_and_services_are_found_and_hooks_are_not() -> None:
    hook = deployment("x", annotations={"helm.sh/hook": "test"})
    found = check_rendered([deployment(str(IMAGE)), SERVICE, hook, {"kind": "List"}], IMAGE, environment())
    assert found.workloads == (("Deployment", "hello"),)
    assert [s["metadata"]["name"] for s in found.services] == ["hello"]


def test_how_long_a_release_wants_to_be_watched_is_found_but_not_for_hooks() -> None:
    quick, slow = deployment("x"), deployment("x", annotations={"helm.sh/hook": "post-upgrade"})
    for o, period in ((quick, 1), (slow, 60)):
        pod = o["spec"]["template"]["spec"]
        pod["terminationGracePeriodSeconds"] = 1
        pod["containers"][0]["livenessProbe"] = {"periodSeconds": period, "failureThreshold": 2}
    assert of_interest([quick, slow]).probe_soak == 8.0


@pytest.mark.parametrize(
    ("said", "events"),
    [("pre-install, pre-upgrade", ["pre-install", "pre-upgrade"]), ("test", ["test"]), ("", []), (None, [])],
)
def test_when_a_hook_runs(said: str | None, events: list[str]) -> None:
    assert hook_events(deployment("x", annotations={"helm.sh/hook": said})) == events
    assert hook_events(deployment("x")) == []


@pytest.mark.parametrize("image", ["registry.example.org/hello:latest", "other/hello@" + IMAGE.digest, ""])
def test_a_chart_that_does_not_run_the_digest_is_refused(image: str) -> None:
    with pytest.raises(UsageProblem, match="nothing in the chart runs"):
        check_rendered([deployment(image)], IMAGE, environment())


def test_a_hook_alone_does_not_count_as_running_the_digest() -> None:
    with pytest.raises(UsageProblem, match="nothing in the chart runs"):
        check_rendered([deployment(str(IMAGE), annotations={"helm.sh/hook": "test"})], IMAGE, environment())


def test_another_namespace_is_refused() -> None:
    with pytest.raises(UsageProblem, match="into the namespace 'kube-system'"):
        check_rendered([deployment(str(IMAGE), namespace="kube-system")], IMAGE, environment())


def test_broken_objects_do_not_break_us() -> None:
    odd: list[Any] = [
        {"kind": "Deployment", "metadata": {"name": "x"}, "spec": "text"},
        {"kind": None, "metadata": "no"},
    ]
    assert of_interest(odd).workloads == (("Deployment", "x"),)
    with pytest.raises(UsageProblem):
        check_rendered(odd, IMAGE, environment())


HOSTILE = "q\"uo'te, {a,b} $HOME `id` \\ new\nline ü 雪 {{ .Values }}"


def test_values_arrive_unharmed(tmp_path: Path) -> None:
    deploy = Deploy(repository_key="app.container.repo", digest_key="app.container.sha")
    chart = Chart(tmp_path, (), "", "")
    file = write_own_values(chart, deploy, IMAGE, {"change": HOSTILE}, tmp_path)
    values = json.loads(file.read_text())
    assert values["cd"]["change"] == HOSTILE
    assert values["app"]["container"] == {"repo": "registry.example.org/hello", "sha": IMAGE.digest}


class NoHelm:
    """Nothing in these tests may start Helm."""


@pytest.fixture
def folder(tmp_path: Path, git: Any) -> Path:
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart" / "Chart.yaml").write_text("name: hello\n")
    (tmp_path / "values.yaml").write_text("a: 1\n")
    git(tmp_path)
    return tmp_path


def prepare(folder: Path, deploy: Deploy, place: Environment | None = None, *charts: str) -> tuple[str, str]:
    place = place or environment()
    with prepare_chart(NoHelm(), open_source(folder), deploy, target(*charts), place, Deadline(30)) as chart:  # type: ignore[arg-type]
        return chart.digest, chart.values_digest


def test_digests_follow_the_content_alone(folder: Path, git: Any) -> None:
    first = prepare(folder, Deploy(values=("values.yaml",)))
    (folder / "unrelated").write_text("x")
    git(folder)
    assert prepare(folder, Deploy(values=("values.yaml",))) == first
    (folder / "values.yaml").write_text("a: 2\n")
    git(folder)
    second = prepare(folder, Deploy(values=("values.yaml",)))
    assert second[0] == first[0]
    assert second[1] != first[1]
    (folder / "chart" / "extra.txt").write_text("x")
    git(folder)
    assert prepare(folder, Deploy(values=("values.yaml",)))[0] != first[0]


def test_a_file_whose_name_is_no_utf8_is_part_of_the_chart(folder: Path, git: Any) -> None:
    first = prepare(folder, Deploy())
    Path(os.fsdecode(os.fsencode(folder) + b"/chart/od\xff")).write_text("x")
    git(folder)
    second = prepare(folder, Deploy())
    Path(os.fsdecode(os.fsencode(folder) + b"/chart/od\xff")).rename(folder / "chart" / "od")
    git(folder)
    assert len({first, second, prepare(folder, Deploy())}) == 3


def test_the_digest_of_a_chart_stays_what_it_was(folder: Path) -> None:
    """Release records and permits of old hold it."""
    assert prepare(folder, Deploy())[0] == "sha256:888628fa8be9c4726c217e99bbf6f492649040bfef70df84c45c7b49bab91829"


def test_what_is_not_committed_is_not_deployed(folder: Path) -> None:
    first = prepare(folder, Deploy(values=("values.yaml",)))
    (folder / "values.yaml").write_text("a: 3\n")
    assert prepare(folder, Deploy(values=("values.yaml",))) == first


@pytest.mark.parametrize("link", ["/etc/passwd", "../values.yaml", "../../../../etc/hostname"])
def test_a_link_out_of_the_chart_is_refused(folder: Path, git: Any, link: str) -> None:
    (folder / "chart" / "leak").symlink_to(link)
    git(folder)
    with pytest.raises(UsageProblem, match="links outside the chart"):
        prepare(folder, Deploy())


def test_values_that_lead_outside_are_refused(folder: Path, git: Any) -> None:
    (folder / "leak.yaml").symlink_to("/etc/passwd")
    git(folder)
    with pytest.raises(UsageProblem, match="leads outside"):
        prepare(folder, Deploy(values=("leak.yaml",)))


def test_a_name_with_a_comma_names_one_file(folder: Path, git: Any) -> None:
    name = "values.yaml,/etc/passwd"
    (folder / "values.yaml,/etc").mkdir(parents=True)
    (folder / name).write_text("a: 3\n")
    git(folder)
    with prepare_chart(
        NoHelm(), open_source(folder), Deploy(values=(name,)), target(), environment(), Deadline(30)
    ) as chart:  # type: ignore[arg-type]
        assert [file.read_text() for file in chart.values] == ["a: 3\n"]
        assert not any("," in str(file) for file in chart.values)


@pytest.mark.parametrize(
    "chart", ["oci://good.example.org/charts/../other:1", "oci://good.example.org/charts/%2e%2e/x:1"]
)
def test_a_chart_cannot_climb_out_of_what_is_allowed(folder: Path, chart: str) -> None:
    with pytest.raises(UsageProblem, match="not among the charts"):
        prepare(folder, Deploy(chart=chart), None, "oci://good.example.org/charts")


@pytest.mark.parametrize("path", ["../chart", "/etc", "missing", ".."])
def test_a_chart_that_is_not_the_services_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(UsageProblem):
        prepare(folder, Deploy(chart=path))


def test_a_chart_from_elsewhere_needs_the_operators_word(folder: Path) -> None:
    with pytest.raises(UsageProblem, match="not among the charts"):
        prepare(folder, Deploy(chart="oci://evil.example.org/chart:1"))
    with pytest.raises(UsageProblem, match="not among the charts"):
        prepare(folder, Deploy(chart="oci://good.example.org.evil/chart:1"), None, "oci://good.example.org")


class Pulling:
    """A Helm that only says what it was asked to pull."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def pull(self, name: str, version: str, folder: Path, deadline: Deadline, *, plain_http: bool) -> Path:
        self.asked.append((name, version))
        (folder / "x.tgz").touch()
        return folder / "x.tgz"


def pulled(folder: Path, chart: str, policy: str) -> tuple[str, str]:
    allowed = target("oci://good.example.org:5000/charts")
    with prepare_chart(
        Pulling(), open_source(folder), Deploy(chart=chart), allowed, environment(policy=policy), Deadline(30)
    ):  # type: ignore[arg-type]
        return Pulling.asked[-1]


CHART = "oci://good.example.org:5000/charts/x"


@pytest.mark.parametrize("policy", ["none", "reviewed", "signed"])
@pytest.mark.parametrize("tag", ["", ":1.0", ":1.0+x.2"])
def test_a_chart_of_a_registry_is_pulled_by_its_digest(folder: Path, policy: str, tag: str) -> None:
    assert pulled(folder, f"{CHART}{tag}@{IMAGE.digest}", policy) == (f"{CHART}@{IMAGE.digest}", "")


@pytest.mark.parametrize("policy", ["reviewed", "signed"])
@pytest.mark.parametrize(
    "rest", ["", ":1.0", "@sha256:abc", ":1.0?@" + IMAGE.digest, "#@" + IMAGE.digest, "@x@" + IMAGE.digest,
             "@" + IMAGE.digest + "\n", ":a:b/c@" + IMAGE.digest.upper()],
)  # fmt: skip
def test_a_chart_that_may_change_is_nobodys_to_permit(folder: Path, policy: str, rest: str) -> None:
    with pytest.raises(UsageProblem, match="has no digest"):
        pulled(folder, CHART + rest, policy)


def test_where_nothing_is_reviewed_a_tag_will_do(folder: Path) -> None:
    assert pulled(folder, f"{CHART}:1.0", "none") == (CHART, "1.0")
    assert pulled(folder, CHART, "none") == (CHART, "")


def test_a_charts_commit_is_on_a_branch_of_its_repository(folder: Path, tmp_path: Path, git: Any) -> None:
    """Not one that waits for its review, which the server hands out as well to who knows its name."""
    charts = tmp_path / "charts"
    (charts / "web").mkdir(parents=True)
    (charts / "web" / "Chart.yaml").write_text("name: web\n")
    old, new = git(charts), git(charts)
    (charts / "web" / "Chart.yaml").write_text("name: evil\n")
    evil = git(charts)
    for argv in (["update-ref", "refs/changes/01/1/1", evil], ["tag", "evil"], ["reset", "--quiet", "--hard", new],
                 ["config", "uploadpack.allowAnySHA1InWant", "true"], ["config", "uploadpack.allowFilter", "true"]):  # fmt: skip
        subprocess.run(["git", "-C", charts, *argv], check=True)

    def prepared(commit: str, policy: str) -> str:
        chart = ForeignChart(f"file://{charts}", commit, "web")
        return prepare(folder, Deploy(chart=chart), environment(policy=policy), f"file://{charts}")[0]

    good = prepared(old, "reviewed")
    assert good == prepared(new, "signed") == prepared(old, "none") != prepared(evil, "none")
    for policy in ("reviewed", "signed"):
        with pytest.raises(UsageProblem, match=f"no branch of .* has the commit {evil}"):
            prepared(evil, policy)
    subprocess.run(["git", "-C", charts, "config", "--unset", "uploadpack.allowFilter"], check=True)
    with pytest.raises(UsageProblem, match="no branch of"):
        prepared(evil, "reviewed")
    subprocess.run(["git", "-C", charts, "branch", "release/1", evil], check=True)
    assert prepared(evil, "reviewed") == prepared(evil, "none") and prepared(old, "reviewed") == good


def test_missing_values_of_the_operators_are_told(folder: Path) -> None:
    with pytest.raises(UsageProblem, match="values files of targets.yaml are missing"):
        prepare(folder, Deploy(), environment(values=(folder / "gone.yaml",)))


def test_http_checks_go_through_the_service_of_the_release() -> None:
    verify = Verify(http=(HttpCheck("/healthz"),))
    [request] = plan_requests(verify, [SERVICE], environment())
    assert request.where == "/api/v1/namespaces/hello/services/hello%3A80/proxy/healthz"
    [request] = plan_requests(verify, [], environment(url="https://hello.example.org"))
    assert (request.where, request.through_api) == ("https://hello.example.org/healthz", False)


@pytest.mark.parametrize(
    "check", [HttpCheck("/", service="kube-dns"), HttpCheck("/", port=8080), HttpCheck("/", port="grpc")]
)
def test_a_check_of_what_the_release_does_not_have_is_refused(check: HttpCheck) -> None:
    with pytest.raises(UsageProblem):
        plan_requests(Verify(http=(check,)), [SERVICE], environment())
