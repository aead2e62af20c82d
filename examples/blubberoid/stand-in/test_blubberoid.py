"""The stand-in answers as Blubberoid was measured to."""

import json

import pytest
from blubberoid import answer

GOOD = {"version": "v4", "base": "debian", "variants": {"test": {"base": "golang"}, "production": {}}}


@pytest.mark.parametrize(
    ("method", "path", "kind", "body", "status"),
    [
        ("GET", "/?spec", "", "", 200),
        ("GET", "/", "", "", 404),
        ("POST", "/v2/test", "", GOOD, 404),
        ("GET", "/v1/test", "", "", 400),
        ("POST", "/v1/test", "text/yaml", GOOD, 415),
        ("POST", "/v1/test", "application/yaml", "{", 400),
        ("POST", "/v1/test", "application/json", {**GOOD, "version": "v3"}, 422),
        ("POST", "/v1/moon", "application/json", GOOD, 422),
        ("POST", "/v1/test", "", GOOD, 200),
    ],
)
def test_each_request_has_its_status(method, path, kind, body, status):
    sent = body if isinstance(body, str) else json.dumps(body)
    assert answer(method, path, kind, sent.encode())[0] == status


def test_a_variant_has_its_own_base_or_the_files():
    for variant, base in (("test", "golang"), ("production", "debian")):
        text = answer("POST", f"/v1/{variant}", "application/json", json.dumps(GOOD).encode())[2]
        assert text.startswith(f"FROM {base} AS {variant}\n")
