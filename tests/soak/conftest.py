"""Tests here take minutes: they crash things, and do them many times over, on real servers."""

from deployments import other_digest, web

from lab.loop.testing import loop
from lab.testing import lab, namespace, repo

__all__ = ["lab", "loop", "namespace", "other_digest", "repo", "web"]
