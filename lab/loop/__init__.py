"""The loop's servers: Gerrit, ZooKeeper, Zuul, a git server, a log server and Jenkins."""
