"""What all tests share: no secret that they plant is in anything that is printed, sent or left behind."""

import signal

from planted import pytest_configure, pytest_fixture_setup, pytest_runtest_makereport, pytest_runtest_protocol

__all__ = ["pytest_configure", "pytest_fixture_setup", "pytest_runtest_makereport", "pytest_runtest_protocol"]

# As it is in a terminal. Started by nohup, a hang-up is ignored, by all that tests start, too; and rightly so.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
