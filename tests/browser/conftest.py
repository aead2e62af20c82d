"""Tests here need Chromium and axe, and no server: pages of recorded runs, and of runs that were made hostile."""

from browser import browser

__all__ = ["browser"]
