"""All servers of the loop, in the order in which `status` shows them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from lab.layout import Layout
from lab.loop import gerrit, gitserver, identity, jenkins, logserver, node, tokens, zookeeper, zuul
from lab.loop.places import Places
from lab.plan import Server


def plan(layout: Layout, given: Mapping[str, str]) -> list[Server]:
    """What has to be started, the servers that are `given` left out; writes their configuration and keys."""
    places = Places(layout)
    for folder in (places.config, places.repositories, places.zookeeper, places.audit):
        folder.mkdir(parents=True, exist_ok=True)
    identity.ensure(places)
    gerrit.write_config(places)
    zookeeper.write_config(places)
    zuul.write_config(places)
    node.write_config(places, given)
    jenkins.write_config(places, given)
    theirs = (("jenkins", "jenkins"), ("kubernetes", "apiserver"))
    needed = ("gerrit", "zookeeper", *(server for what, server in theirs if what not in given))
    return [
        *gerrit.servers(places),
        *zookeeper.servers(places),
        *gitserver.servers(places),
        *logserver.servers(places),
        *node.servers(places),
        *([] if "jenkins" in given else jenkins.servers(places)),
        Server("loop-setup", (sys.executable, "-m", "lab.loop.config", str(layout.root)), after=needed, job=True),
        *tokens.servers(places),
        *zuul.servers(places),
    ]
