"""A service to deploy, in a namespace of its own."""

from deployments import other_digest, web

__all__ = ["other_digest", "web"]
