"""Tests here play the demo, against the servers of the integration tests, and look at its pages in Chromium."""

from browser import browser

from lab.testing import lab

__all__ = ["browser", "lab"]
