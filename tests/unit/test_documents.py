"""YAML from outside: strict, all mistakes at once, each with its path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdlib.documents import load_schema, read_all, read_yaml, schema_mistakes
from cdlib.errors import UsageProblem


def mistakes(text: str, schema: str = "cd") -> tuple[str, ...]:
    with pytest.raises(UsageProblem) as caught:
        read_yaml(text, "cd.yaml", schema)
    assert caught.value.hint
    return (caught.value.message, *caught.value.details)


def test_a_good_file() -> None:
    assert read_yaml("service: hello\n", "cd.yaml", "cd") == {"service": "hello"}


def test_all_mistakes_come_at_once_with_their_paths() -> None:
    message, *found = mistakes(
        "service: UPPER\nimage: {dockerfile: /abs, args: {1x: y}}\ntest: {limits: {memory: lots, time: 5}}\nextra: 1\n"
    )
    assert message == "cd.yaml has 6 mistakes"
    paths = [line.partition(": ")[0] for line in found]
    assert sorted(paths) == sorted(
        ["(top)", "image.args", "image.dockerfile", "service", "test.limits.memory", "test.limits.time"]
    )
    assert any("unknown key 'extra'; known are deploy, image, service, test" in line for line in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "no valid YAML at line"), ("a: &x 1\nb: *x\n", "aliases"), ("service: a\nservice: b\n", "stands twice"),
        ("service: !!python/object:os.system {}\n", "no valid YAML"), ("service: a\n--- \nservice: b\n", "no valid YAML"),
        ("x" * 300_000, "larger than"), ("a: " + "[" * 200_000, "more than 50 levels"),
        ("{a: " * 51 + "1" + "}" * 51, "more than 50 levels"), ("service: \x07\n", "no valid YAML"), ("? [a]\n: b\n", "stands twice"),
        ("service: !!bool x\n", "tags"), ("service: !!timestamp x\n", "tags"), ("service: !!int ''\n", "tags"),
        ("service: !mine {}\n", "tags"), ("service: 0x" + "f" * 6000 + "\n", "no valid YAML"),
        ("service: 2001-99-99\n", "no valid YAML"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_ours(text: str, said: str) -> None:
    assert said in mistakes(text)[0]


@pytest.mark.parametrize("text", ["", "null", "# a word\n"])
def test_an_empty_one_is_called_so(text: str) -> None:
    with pytest.raises(UsageProblem, match=r"^cd.yaml is empty$") as caught:
        read_yaml(text, "cd.yaml", "cd")
    assert Path(caught.value.hint.split()[-1]).is_file(), "what explains it is there wherever the library is"


@pytest.mark.parametrize("text", ["0s", "0h0m0s", "99999999999h", "1000h", "1.0000s", "1d", "s"])
def test_limits_are_neither_nothing_nor_endless(text: str) -> None:
    assert any(
        line.startswith("test.limits.time: ") for line in mistakes(f"service: a\ntest: {{limits: {{time: {text}}}}}\n")
    )
    assert any(".budget: " in line for line in of_targets(text, "1s"))
    assert bool(of_targets("90s", text)) is (text not in ("0s", "0h0m0s")), "a soak may be none"


def of_targets(budget: str, soak: str) -> list[str]:
    place = {"budget": budget, "verify": {"soak": soak}}
    return schema_mistakes({"version": 1, "environments": {"x": place}, "services": {}}, "targets")


@pytest.mark.parametrize("text", ["[]", "just text", "3"])
def test_documents_that_are_no_mapping(text: str) -> None:
    assert "(top): " in mistakes(text)[1]


def test_a_long_value_does_not_flood_the_message() -> None:
    assert all(len(line) < 500 for line in mistakes(f"service: {'x' * 5000}\n"))


def test_several_readers_tell_of_all_mistakes() -> None:
    def bad(text: str) -> dict[str, object]:
        return read_yaml(text, "file", "cd")

    assert read_all(lambda: 1, lambda: 2) == [1, 2]
    with pytest.raises(UsageProblem, match="1 mistake") as caught:
        read_all(lambda: 1, lambda: bad("service: hello\na: 1\n"))
    with pytest.raises(UsageProblem) as caught:
        read_all(lambda: bad("service: X\n"), lambda: bad("service: hello\nb: 1\n"))
    assert caught.value.message.count("mistake") == 2 and len(caught.value.details) == 2


@pytest.mark.parametrize("name", ["cd", "targets", "result"])
def test_schemas_are_schemas(name: str) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(load_schema(name))
    assert json.dumps(load_schema(name))


def test_a_result_is_checked_by_its_schema() -> None:
    good = {"schema": "cd-result/1", "command": "x", "outcome": "done", "exit_code": 0, "duration_s": 1.0}
    assert schema_mistakes(good, "result") == []
    assert schema_mistakes({**good, "exit_code": "0"}, "result")
