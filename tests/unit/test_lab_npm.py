"""A file out of a package of npm's registry: the one that was pinned, or none."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from serving import served

from cdlib.errors import Unavailable
from lab.layout import Layout
from lab.npm import AXE, Package, install


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}.js")
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sri(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "lab")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    content = archive(one=b"1", two=b"2")
    file = tmp_path / "registry" / "small" / "-" / "small-1.0.0.tgz"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return Package("small", "1.0.0", sri(content), "two.js")


@pytest.fixture
def registry(tmp_path: Path, package: Package) -> Iterator[dict[str, str]]:
    with served(tmp_path / "registry", SimpleHTTPRequestHandler) as address:
        yield {"npm_config_registry": address, "NO_PROXY": "127.0.0.1"}


def test_one_file_of_it_is_kept_and_fetched_once(layout: Layout, package: Package, registry: dict[str, str]) -> None:
    said: list[str] = []
    install(package, layout, said.append, registry)
    install(package, layout, said.append, {"npm_config_registry": "http://127.0.0.1:9"})
    assert package.path(layout).read_bytes() == b"2" and said == ["fetching small 1.0.0"]
    assert [path.name for path in layout.tools.rglob("*")] == ["small-1.0.0", "two.js"]


def test_another_package_under_its_name_is_refused(layout: Layout, package: Package, registry: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match="is not the small 1.0.0 that is pinned"):
        install(replace(package, integrity=sri(b"another")), layout, lambda line: None, registry)
    assert not package.path(layout).exists()


def test_a_registry_that_has_it_not_is_named(layout: Layout, package: Package, registry: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match="cannot be fetched") as raised:
        install(replace(package, version="2.0.0"), layout, lambda line: None, registry)
    assert "npm_config_registry" in raised.value.hint and "404" in raised.value.details[0]


def test_axe_is_pinned_whole() -> None:
    kind, _, digest = AXE.integrity.partition("-")
    assert kind == "sha512" and len(base64.b64decode(digest)) == 64
