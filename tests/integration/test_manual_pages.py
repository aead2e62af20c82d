"""docs/ as pages: made without a warning, whole by themselves, and never with a link that leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def made(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does."""
    argv = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", source, out]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_the_manuals_are_pages_by_reader_that_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = made(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = [page.read_text(encoding="utf-8") for page in sorted(tmp_path.rglob("*.html"))]
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    loads = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\ssrc=["']?(?:https?:)?//|<link\b[^>]*href=["']?(?:https?:)?//"""
    )
    styles = [style.read_text(encoding="utf-8") for style in tmp_path.rglob("*.css")]
    assert not [found for page in pages for found in loads.findall(page)]
    assert styles and not [s for style in styles for s in re.findall(r"@import|url\(['\"]?(?:https?:)?//", style)]
    bar = (tmp_path / "index.html").read_text(encoding="utf-8").partition("sidebar-tree")[2].partition("</div>")[0]
    assert [re.sub("<.*?>", "", caption) for caption in re.findall(r'class="caption"[^>]*>(.*?)</p>', bar)] == [
        "To begin with",
        "For operators",
        "Putting it onto what you have",
        "Reference",
        "The project itself",
    ]
    assert {"quick-start.html", "operators.html", "reference/commands.html", "decisions/index.html"} <= set(
        re.findall(r'href="([^"#]+)"', bar)
    )


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "conf.py", tmp_path / "docs")
    (tmp_path / "docs" / "b.md").write_text("# B\n")
    good = "# A\n## Pages\n- [B](b.md), [a heading](b.md#b), [the sample](../examples/hello)\n"
    index = tmp_path / "docs" / "index.md"
    index.write_text(good)
    done = made(tmp_path / "docs", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    index.write_text(good + "- [C](no-page.md), [C](b.md#no-heading), [C](#not-here)\n")
    done = made(tmp_path / "docs", tmp_path / "out")
    assert done.returncode != 0 and all(what in done.stderr for what in ("no-page", "no-heading", "not-here"))
