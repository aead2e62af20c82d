"""ZooKeeper, with TLS alone, as Zuul asks for it."""

from __future__ import annotations

from lab.layout import LOOPBACK
from lab.loop import parts
from lab.loop.places import ZOOKEEPER_PORT, Places
from lab.plan import Server

_CONFIG = """\
dataDir={data}
tickTime=2000
secureClientPort={port}
secureClientPortAddress={address}
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location={keys}/zookeeper.pem
ssl.keyStore.type=PEM
ssl.trustStore.location={keys}/ca.crt
ssl.trustStore.type=PEM
ssl.hostnameVerification=false
admin.enableServer=false
autopurge.purgeInterval=24
"""


def servers(places: Places) -> list[Server]:
    """The one server; it serves once it takes a connection."""
    argv = (
        parts.java(),
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        f"{parts.ZOOKEEPER.folder(places.layout) / 'lib'}/*",
        "org.apache.zookeeper.server.ZooKeeperServerMain",
        str(places.config / "zoo.cfg"),
    )
    ports = ((LOOPBACK, ZOOKEEPER_PORT),)
    return [Server("zookeeper", argv, ports=ports, address=f"{LOOPBACK}:{ZOOKEEPER_PORT}")]


def write_config(places: Places) -> None:
    """Write zoo.cfg."""
    values = {"data": places.zookeeper, "keys": places.keys, "port": ZOOKEEPER_PORT, "address": LOOPBACK}
    (places.config / "zoo.cfg").write_text(_CONFIG.format(**values))
