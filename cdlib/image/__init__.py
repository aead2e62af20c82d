"""From a commit to an image in a registry: build it, run its tests, publish it."""
