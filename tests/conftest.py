"""What all tests share: no secret that they plant is in anything that is printed, sent or left behind."""

from planted import pytest_configure, pytest_fixture_setup, pytest_runtest_makereport, pytest_runtest_protocol

__all__ = ["pytest_configure", "pytest_fixture_setup", "pytest_runtest_makereport", "pytest_runtest_protocol"]
