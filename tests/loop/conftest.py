"""Tests here run against real Gerrit and Zuul as well as Docker, a registry and Kubernetes: the lab with its loop."""

from browser import browser

from lab.loop.testing import loop

__all__ = ["browser", "loop"]
