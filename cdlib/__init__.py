"""From a Gerrit change to serving on Kubernetes, and back: the library behind the commands in `jobs`."""
