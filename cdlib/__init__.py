"""From a Gerrit change to serving on Kubernetes, and back: the library behind the commands in `jobs`."""

VERSION = "0.1.0"  # setup.cfg takes it from here
