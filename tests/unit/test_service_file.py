"""cd.yaml as objects."""

from __future__ import annotations

import pytest

from cdlib.errors import UsageProblem
from cdlib.service import Deploy, ForeignChart, HttpCheck, Image, Service, Test, Verify, parse_service, parse_verify

WHOLE = """
service: hello
image:
  dockerfile: docker/Dockerfile
  variants: {test: check, production: app}
  args: {A: "1 'b' $C"}
test:
  command: [python3, -m, pytest]
  reports: /out
  network: bridge
  limits: {memory: 256Mi, cpus: 0.5, time: 2m, processes: 9}
deploy:
  chart: {repository: "https://git.test/charts", commit: 0123456789012345678901234567890123456789, path: hello}
  values: [a.yaml]
  image_values: {repository: img.name, digest: img.sha}
  verify: {http: [{path: /healthz, status: 204, contains: ok}], helm_test: true, soak: 10s}
"""


def test_everything_that_can_be_said() -> None:
    service = parse_service(WHOLE)
    assert service.image == Image("docker/Dockerfile", "", {"test": "check", "production": "app"}, {"A": "1 'b' $C"})
    assert service.test == Test("test", ("python3", "-m", "pytest"), "/out", "bridge", 2**28, 0.5, 120.0, 9)
    assert service.deploy.chart == ForeignChart("https://git.test/charts", "0123456789" * 4, "hello")
    assert (service.deploy.repository_key, service.deploy.digest_key) == ("img.name", "img.sha")
    assert service.deploy.verify == Verify((HttpCheck("/healthz", 204, "ok"),), True, 10.0)


def test_defaults() -> None:
    assert parse_service("service: hello\n") == Service("hello", Image(), Test(), Deploy())
    assert parse_service("service: x\nimage: {blubber: b.yaml}\n").image.dockerfile == ""


def test_variants() -> None:
    service = parse_service(WHOLE)
    assert service.variant("production") == "app"
    with pytest.raises(UsageProblem, match="no variant 'app'") as caught:
        service.variant("app")
    assert "production, test" in caught.value.hint


def test_the_build_configuration_is_what_decides_the_build() -> None:
    first = parse_service(WHOLE)
    configuration = first.build_configuration("test")
    assert configuration == parse_service(WHOLE.replace("2m", "3m")).build_configuration("test")
    assert configuration != first.build_configuration("production")
    for old, new in (("$C", "$D"), ("docker/Dockerfile", "Dockerfile"), ("test: check", "test: other")):
        assert configuration != parse_service(WHOLE.replace(old, new)).build_configuration("test")


def test_a_floor_is_never_taken_away() -> None:
    floor = Verify((HttpCheck("/a"),), True, 30.0)
    assert Verify((HttpCheck("/b"), HttpCheck("/a"))).on_top_of(floor) == Verify(
        (HttpCheck("/a"), HttpCheck("/b")), True, 30.0
    )
    assert Verify(soak=60).on_top_of(floor).soak == 60


@pytest.mark.parametrize(
    ("service", "operators", "soak"),
    [(None, None, None), (None, 30.0, 30.0), (None, 0.0, 0.0), (0.0, None, 0.0), (0.0, 30.0, 30.0), (60.0, 0.0, 60.0)],
)
def test_no_soak_is_not_the_same_as_none_named(
    service: float | None, operators: float | None, soak: float | None
) -> None:
    assert Verify(soak=service).on_top_of(Verify(soak=operators)).soak == soak


def test_a_soak_that_is_not_named_comes_from_elsewhere() -> None:
    assert parse_verify({}).soak is None
    assert parse_verify({"soak": "0s"}).soak == 0.0


@pytest.mark.parametrize(
    "image", ["{dockerfile: a, blubber: b}", "{dockerfile: /a}", "{variants: {}}", "{variants: {A: b}}", "{args: {a-b: c}}",
              "{args: {A: 1}}"],
)  # fmt: skip
def test_images_that_are_wrong(image: str) -> None:
    with pytest.raises(UsageProblem):
        parse_service(f"service: x\nimage: {image}\n")
