"""cd-status as people and programs see it: the terminal at any width, the page, the JSON, and what changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from clusters import Cluster, entry, targets
from test_rollout_survey import dead_url, look

import jobs.board
from cdlib.documents import schema_mistakes
from cdlib.report.board import page
from cdlib.report.boardtext import as_text, changes, summary
from cdlib.rollout import survey as module
from cdlib.run import Deadline, Run
from cdlib.table import width
from jobs.cd_status import main

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def file(cluster: Cluster, tmp_path: Path) -> Path:
    """Four releases: verified, on hold with a name of wide characters, stuck, and not there."""
    hold = {"since": "2026-01-01T00:00:00Z", "by": "ann", "reason": "凍結中 until Monday", "to": ""}
    cluster.release("alpha", entry(1), entry(2, by="https://ci/job/7//host/12/abcd"))
    cluster.release("beta", entry(1, by="Åsa Öberg/host/1/a"), hold=hold)
    cluster.release("gamma", entry(1), entry(2, "deploying"), helm="pending-upgrade")
    places = {"production": [("apps", name) for name in ("alpha", "beta", "gamma", "delta")]}
    return targets(tmp_path, {"production": cluster.url}, places)


def run(*argv: str) -> Any:
    return CliRunner().invoke(main, argv)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("limit", [40, 60, 80, 100, 120, 160, 200])
def test_each_release_and_state_is_there_at_every_width(file: Path, limit: int) -> None:
    text = as_text(look(file).as_dict(), limit)
    assert max(map(width, text.splitlines())) <= limit
    for word in (
        "apps/alpha",
        "apps/beta",
        "apps/gamma",
        "apps/delta",
        "verified",
        "stuck",
        "not deployed",
        "its run died",
    ):
        assert word in text
    assert "which clears up first" in re.sub(r"\s+", " ", text)
    assert next(line for line in text.splitlines() if "stuck" in line).startswith("!")
    assert sum("sha256:0" in line for line in text.splitlines()) == (3 if limit < 80 else 0)
    assert ("DIGEST" in text) == (limit >= 160) and ("REV" in text) == (limit >= 80)


def test_without_a_terminal_nothing_is_cut(file: Path) -> None:
    text = as_text(look(file).as_dict())
    assert "…" not in text and "凍結中 until Monday" in text and "https://ci/job/7/" in text and "host/12" not in text
    assert text.endswith("4 releases in 1 cluster: 2 verified, 1 not deployed, 1 stuck, 1 on hold")


def test_nothing_to_show_is_a_sentence() -> None:
    assert summary({"at": "", "releases": [], "clusters": []}) == "0 releases in 0 clusters: none"
    assert as_text({"at": "", "releases": [], "clusters": []}, 40)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("limit", [*range(40, 201, 16), 41, 79])
def test_words_of_any_script_keep_to_the_width(cluster: Cluster, tmp_path: Path, limit: int) -> None:
    why = "注文が失われた、e\u0301clair " * 9
    cluster.release("web", entry(1), entry(2, "failed", by=why, reason=why), hold={"reason": why}, helm="failed")
    file = targets(tmp_path, {"production": cluster.url}, {"production": [("apps", "web")]})
    lines = as_text(look(file).as_dict(), limit).splitlines()
    assert max(map(width, lines)) <= limit and any("注文" in line for line in lines)


def test_all_that_comes_from_a_change_is_text_on_the_page(cluster: Cluster, tmp_path: Path) -> None:
    bad = entry(
        1, "failed", commit=HOSTILE, by=HOSTILE, reason=HOSTILE, change=HOSTILE, url="javascript:alert(1)", at=HOSTILE
    )
    cluster.release("web", bad, hold={"reason": HOSTILE}, helm="failed")
    board = look(targets(tmp_path, {"production": cluster.url}, {"production": [("apps", "web")]})).as_dict()
    found = Page(page(board))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "a", "link", "iframe"})
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.text.count("<script>alert(1)</script>") >= 3
    assert "\x1b" not in found.text and "\u202e" not in found.text
    assert "\x1b" not in as_text(board, 80) and "\u202e" not in as_text(board, 80)


def test_the_page_needs_nothing_else_and_says_what_the_board_says(file: Path) -> None:
    board = look(file).as_dict()
    found = Page(page(board))
    for row in board["releases"]:
        assert f"{row['namespace']}/{row['release']}" in found.text and row["digest"] in found.text
    assert not re.search(r"""src=|@import|url\(""", page(board))
    assert [a["http-equiv"] for t, a in Page(page(board, every=2)).tags if "http-equiv" in a] == ["refresh"]
    assert found.text.count("⚠") == 1


@pytest.mark.usefixtures("in_folder")
def test_one_json_object_as_its_schema_says(file: Path, tmp_path: Path) -> None:
    done = run("--targets", str(file), "--json", "--html", str(tmp_path / "board.html"))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert schema_mistakes(result, "result") == []
    assert [r["state"] for r in result["releases"]] == ["verified", "verified", "not deployed", "stuck"]
    assert "gamma" in (tmp_path / "board.html").read_text() and result["page"] == str(tmp_path / "board.html")


@pytest.mark.usefixtures("in_folder")
def test_only_a_service_or_an_environment(file: Path) -> None:
    done = run("--targets", str(file), "--json", "--service", "beta", "-e", "production")
    assert [r["service"] for r in json.loads(done.stdout)["releases"]] == ["beta"]
    assert run("--targets", str(file), "--service", "omega").exit_code == 2
    assert run("--targets", str(file), "-e", "moon").exit_code == 2


@pytest.mark.usefixtures("in_folder")
def test_a_cluster_that_does_not_answer_is_69_and_the_others_are_shown(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    cluster.release("web", entry(1))
    urls = {"east": cluster.url, "west": dead_url()}
    file = targets(tmp_path, urls, {name: [("apps", "web")] for name in urls})
    done = run("--targets", str(file))
    assert done.exit_code == 69
    assert re.search(r"east +apps/web +1 +verified", done.stdout) and re.search(
        r"! +west +apps/web +unknown", done.stdout
    )
    assert "1 of 2 clusters cannot be seen" in done.stderr and urls["west"] in done.stderr
    assert done.stdout.count("cannot be reached") == 1, "its row says why; what stands below the table does not again"
    kept = json.loads((tmp_path / ".cd" / "status" / "cd-result.json").read_text())
    assert len(kept["releases"]) == 2 and schema_mistakes(kept, "result") == []


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("as_json", [True, False])
def test_half_a_surrogate_pair_ends_no_more_than_its_own_row(
    cluster: Cluster, file: Path, tmp_path: Path, as_json: bool
) -> None:
    kept = cluster.lists["configmaps"][0]["data"]
    kept["record.json"] = kept["record.json"].replace('"me"', '"\\ud800"')
    cluster.lease("gamma", "\ud800", 1)
    done = run("--targets", str(file), "--html", str(tmp_path / "board.html"), *(["--json"] if as_json else []))
    assert done.exit_code == 0 and "held by" in (tmp_path / "board.html").read_text(encoding="utf-8")
    result = json.loads((tmp_path / ".cd" / "status" / "cd-result.json").read_text(encoding="utf-8"))
    assert [row["state"] for row in result["releases"]] == ["unknown", "verified", "not deployed", "in progress"]


@pytest.mark.usefixtures("in_folder")
def test_a_dry_run_writes_no_page(file: Path, tmp_path: Path) -> None:
    assert run("--targets", str(file), "--dry-run", "--html", str(tmp_path / "board.html")).exit_code == 0
    assert not (tmp_path / "board.html").exists()


def test_a_line_for_each_change_and_none_where_nothing_changes(cluster: Cluster, file: Path) -> None:
    first = look(file).as_dict()
    assert list(changes(first, look(file).as_dict())) == []
    cluster.lease("gamma", "ci/host/1/a", 1)
    assert list(changes(first, look(file).as_dict())) == [
        "production apps/gamma: in progress, revision 2 (000000000000): held by ci/host/1/a; Helm: pending-upgrade"
    ]


class Clock:
    """Time that passes by waiting for it alone; `turns` happen meanwhile, one a wait."""

    def __init__(self, *turns: Any) -> None:
        self.turns, self.now = list(turns), 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.turns:
            self.turns.pop(0)()


class Until(Deadline):
    """A limit that is over once the clock's turns are."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(60)
        self._clock = clock

    @property
    def left(self) -> float:
        return 60.0 if self._clock.turns else 0.5


@pytest.mark.parametrize("draw", [False, True])
def test_a_rollout_is_followed_as_it_happens(
    cluster: Cluster,
    file: Path,
    tmp_path: Path,
    draw: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from cdlib.rollout.board import spots
    from cdlib.rollout.survey import Survey
    from cdlib.target import read_target

    def ends() -> None:
        cluster.lists["configmaps"].clear()
        cluster.lists["secrets"].clear()
        cluster.lists["leases"].clear()
        cluster.release("gamma", entry(1), entry(2))

    clock = Clock(lambda: cluster.lease("gamma", "ci", 1), lambda: None, ends)
    monkeypatch.setattr(jobs.board, "time", clock)
    here = Run("cd-status", Until(clock))
    notes: list[str] = []
    here.events.listen(lambda event: notes.append(event["text"]))
    with Survey(here, spots([read_target(file, "gamma")], "")) as survey:
        board = jobs.board.follow(here, survey, here.deadline, tmp_path / "board.html", draw=draw)
    assert board.rows[0].state == "verified" and "verified" in (tmp_path / "board.html").read_text()
    shown = capsys.readouterr().out
    if draw:
        assert (
            notes == []
            and shown.count("\x1b[2J") == 4
            and re.findall(r"apps/gamma +2 +(stuck|in progress|verified) ", shown)
            == ["stuck", "in progress", "in progress"]
        )
    else:
        assert [note.split(",")[0].rpartition(": ")[2] for note in notes] == ["stuck", "in progress", "verified"]
        assert shown == ""


def test_the_command_itself_starts() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "cd-status", "--help"], capture_output=True, text=True, check=True
    )
    assert "Show what is live where" in done.stdout
