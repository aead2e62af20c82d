"""Tests here run against real servers: the lab's, or those that LAB_KUBECONFIG, DOCKER_HOST and LAB_REGISTRY name."""

from lab.testing import lab, namespace, repo

__all__ = ["lab", "namespace", "repo"]
