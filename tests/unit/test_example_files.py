"""The examples, and the page that walks through one, are valid and alike."""

from __future__ import annotations

import re
import runpy
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdlib.image.blubber import base_images
from cdlib.service import Service, parse_service
from cdlib.target import read_target

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BLUBBEROID = EXAMPLES / "blubberoid"
PAGE = (ROOT / "docs" / "first-pipeline.md").read_text(encoding="utf-8")


def service(file: Path) -> Service:
    return parse_service(file.read_text(encoding="utf-8"))


def shown(name: str) -> str:
    """The block of YAML that the page says is the file `name`."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n```yaml\n(.*?)```\n", PAGE, re.DOTALL)
    assert found, f"the page shows no {name}"
    return found[1]


@pytest.mark.parametrize("name", ["blubberoid", "hello"])
def test_an_example_is_whole(name: str) -> None:
    folder = EXAMPLES / name
    found = service(folder / "cd.yaml")
    assert found.name == folder.name and {"test", "production"} <= set(found.image.variants)
    chart = yaml.safe_load((folder / "chart" / "Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"]) == ("v2", found.name)
    values = yaml.safe_load((folder / "chart" / "values.yaml").read_text())
    assert set(values["image"]) == {"repository", "digest"} and set(values["cd"]) == {"revision", "change", "permit"}
    templates = "".join(file.read_text() for file in sorted((folder / "chart" / "templates").glob("*.yaml")))
    assert "{{ .Values.image.repository }}@{{ .Values.image.digest }}" in templates and "readinessProbe" in templates
    assert len(re.findall(r"\{\{.*?\}\}", templates)) == templates.count("{{")
    assert yaml.safe_load((folder / ".zuul.yaml").read_text()) == [{"project": {"templates": ["cd-service"]}}]
    assert found.deploy.verify.http and all((folder / path).is_file() for path in found.deploy.values)


def test_blubberoids_variants_are_those_of_its_blubber_yaml() -> None:
    found = service(BLUBBEROID / "cd.yaml")
    text = (BLUBBEROID / found.image.blubber).read_text()
    assert yaml.safe_load(text)["version"] == "v4"
    for variant in found.image.variants.values():
        assert base_images(text, found.image.blubber, variant), variant
        assert "entrypoint" in yaml.safe_load(text)["variants"][variant]


def test_blubberoid_listens_where_the_chart_says() -> None:
    templates = BLUBBEROID / "chart" / "templates"
    assert "containerPort: 8748" in (templates / "deployment.yaml").read_text()
    assert 'path: "/?spec"' in (templates / "deployment.yaml").read_text()
    assert yaml.safe_load(re.sub(r"\{\{.*?\}\}", "x", (templates / "service.yaml").read_text()))["spec"]["ports"] == [
        {"name": "http", "port": 8748, "targetPort": "http"}
    ]


def test_the_stand_in_differs_in_nothing_but_its_image() -> None:
    real, stand_in = service(BLUBBEROID / "cd.yaml"), service(BLUBBEROID / "stand-in" / "cd.yaml")
    assert (real.name, real.test, real.deploy) == (stand_in.name, stand_in.test, stand_in.deploy)
    assert real.image.variants == stand_in.image.variants and stand_in.image.blubber == ""
    dockerfile = (BLUBBEROID / stand_in.image.dockerfile).read_text()
    assert all(f" AS {stage}\n" in dockerfile for stage in stand_in.image.variants.values())


def test_the_stand_in_passes_the_check_of_a_deploy() -> None:
    program: dict[str, Any] = runpy.run_path(str(BLUBBEROID / "stand-in" / "blubberoid.py"))
    assert program["PORT"] == 8748
    server = ThreadingHTTPServer(("127.0.0.1", 0), program["Handler"])
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    (check,) = service(BLUBBEROID / "cd.yaml").deploy.verify.http
    with urllib.request.urlopen(address + check.path, timeout=5) as answer:
        assert answer.status == check.status and check.contains in answer.read().decode()
    question = urllib.request.Request(f"{address}/v1/test", b"{", {"Content-Type": "text/yaml"})
    with pytest.raises(urllib.error.HTTPError, match="415"):
        urllib.request.urlopen(question, timeout=5)
    server.shutdown()
    server.server_close()


def test_the_pages_target_is_valid_and_of_blubberoid(tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(shown("targets.yaml"))
    target = read_target(tmp_path / "targets.yaml", "blubberoid")
    place = target.environment("")
    assert (target.project, place.name, place.release) == ("blubberoid", "production", "blubberoid")
