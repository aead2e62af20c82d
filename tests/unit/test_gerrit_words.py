"""Hostile text in comments: Markdown, as Gerrit's pages read it, makes nothing of it but text."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cdlib.gerrit.message import Comment, Key
from cdlib.gerrit.report import Report
from cdlib.gerrit.words import LINES, WIDTH, quoted, sentence

COMMIT = "1a2b3c4d5e6f" + "0" * 28
HOSTILE = [
    "```",
    "~~~ sh",
    "</code></pre><script>alert(1)</script>",
    "[click](https://evil.example.org) ![x](https://evil.example.org/x.png) <https://evil.example.org>",
    "[a]: https://evil.example.org",
    "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example.org\x07link\x1b]8;;\x07",
    "one\r\n\r\ntwo\n\n# heading\n\ncd: deploy of 1a2b3c4d5e6f to production/hello: live, revision 7",
    "line\u2028cd: x\u0085cd: y\x0bcd: z\x0ccd: w",
    "\u202egnitirw sdrawkcab\u2066 \u200b\ufeff",
    "half a character \ud800 here",
    "> quoted\n    code\n\tTab",
    "Label: Verified=+2\n\nPatch-set: 1",
    "x" * 5000,
    "\0",
]


def tokens(text: str) -> list[Token]:
    found = MarkdownIt("commonmark").parse(text)
    return [*found, *(child for token in found for child in token.children or ())]


def report(**what: object) -> Report:
    fields = {"command": "helm-deploy", "outcome": "rolled-back", "exit_code": 7, "seconds": 3.0, "service": "hello",
              "environment": "production", "release": "hello", "revision": 8, "rolled_back_to": 6, "commit": COMMIT}  # fmt: skip
    return Report(**{**fields, **what})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_line_is_text_wherever_it_stands(text: str) -> None:
    hostile = report(
        cause=text, message=text, hint=text, details=(text, "last"), environment=text, release=text, service=text
    )
    for each in (hostile, report(outcome="done", exit_code=0, digest=text, image=text, service=text)):
        comment = Comment(each, COMMIT, url=f"https://x/{text}")
        said = f"{comment.text(others=2)}\n\n{comment.key}"
        kinds = {token.type for token in tokens(said)}
        assert kinds.isdisjoint(
            {"link_open", "image", "html_inline", "html_block", "fence", "heading_open", "code_inline"}
        )
        assert said.isascii() or said.encode("utf-8")
        assert not any(c in said for c in "\x1b\r\0\u2028\u0085\u202e\u200b\x0b")
        own = [line for line in said.splitlines() if line.startswith("cd: ")]
        assert own == [str(comment.key)], "only our last line looks like a key"


def test_evidence_is_one_quoted_block_of_code() -> None:
    block = "\n".join(["before", "", *quoted(HOSTILE[:11]), "", "after"])
    found = [token.type for token in MarkdownIt("commonmark").parse(block)]
    assert found == ["paragraph_open", "inline", "paragraph_close", "blockquote_open", "code_block", "blockquote_close",
                     "paragraph_open", "inline", "paragraph_close"]  # fmt: skip


def test_evidence_is_short_and_keeps_its_indentation() -> None:
    lines = [f"  line {n} " + "x" * 500 for n in range(40)]
    long, first = quoted(lines), quoted(lines, first=True)
    assert len(long) == len(first) == LINES and all(len(line) <= WIDTH + 6 for line in long)
    assert long[0].startswith(">       line 0") and long[2] == ">     … 31 more lines" and "line 39" in long[-1]
    assert "line 8" in first[-2] and first[-1] == ">     … 31 more lines"
    assert quoted(["", "  ", "\n\n"]) == []


def test_sentences_are_one_line_of_a_sane_length() -> None:
    assert sentence("a\n\n  b\t`c` <d> [e](f)") == "a b 'c' ‹d› (e)(f)"
    assert len(sentence("word " * 500)) == 300 and sentence("word " * 500).endswith("…")


def test_a_comment_of_the_worst_text_fits_gerrits_limit() -> None:
    worst = report(cause="ü" * 9000, hint="ü" * 9000, details=["ü" * 9000] * 100, environment="e" * 9000)
    assert len(Comment(worst, COMMIT).text(others=3)) < 4000


def test_a_key_is_found_again_and_only_the_newest_counts() -> None:
    live, failed = Key("deploy of 1 to p", "live, revision 7"), Key("deploy of 1 to p", "rolled-back, revision 9")
    other = Key("deploy of 2 to p", "live, revision 8")
    said = tuple(f"Patch Set 1:\n\nDeployed\n\n{key}\n" for key in (live, failed, other))
    assert failed.is_said_by(said) and not live.is_said_by(said) and other.is_said_by(said)
    assert not Key("deploy of 1 to p", "live").is_said_by(said)
    assert not live.is_said_by(()) and not live.is_said_by((f"{live}\n\nnot the last line",))


def test_a_link_that_is_none_is_left_out() -> None:
    for url in ("", "javascript:alert(1)", "https://x/ y", "https://x/)[a](b", "https://x\ny"):
        said = Comment(report(), COMMIT, url=url, page=".cd/report.html").text()
        assert "Log:" not in said and "Report:" not in said
    assert Comment(report(), COMMIT, url="https://x/job/a%20b/7/").text().endswith("\n\nLog: https://x/job/a%20b/7/")


@pytest.mark.parametrize("outcome", [{}, {"outcome": "done", "exit_code": 0}])
def test_broken_glass_is_told(outcome: dict[str, object]) -> None:
    said = Comment(report(**outcome, broken_glass=f"{HOSTILE[0]} the site is down (eve)"), COMMIT).text()
    assert "BREAK GLASS: nobody has checked" in said and "the site is down (eve)" in said
    assert "BREAK GLASS" not in Comment(report(**outcome), COMMIT).text()
