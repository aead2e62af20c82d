"""Tests here run against real servers: the lab's, or those that KUBECONFIG, DOCKER_HOST and LAB_REGISTRY name."""

from browser import browser

from lab.testing import lab, namespace, repo

__all__ = ["browser", "lab", "namespace", "repo"]
