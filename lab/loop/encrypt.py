"""Encrypts values for a project of Zuul's, by Zuul's own code: this runs in Zuul's virtual environment, not in ours.

`encrypt.py ZUUL_CONF CONNECTION PROJECT` reads a JSON list of strings from stdin, and prints a JSON list that has,
for each of them, the pieces of an `!encrypted/pkcs1-oaep` value. The project's key is made where there is none yet.
ZooKeeper must run, Zuul need not.
"""

import base64
import configparser
import json
import sys

from zuul.lib import encryption  # type: ignore[import-not-found]
from zuul.lib.keystorage import KeyStorage  # type: ignore[import-not-found]
from zuul.zk import ZooKeeperClient  # type: ignore[import-not-found]

_PIECE = 400  # bytes; a key of 4096 bits takes 470 at once


def main(conf: str, connection: str, project: str) -> None:
    """Encrypt stdin."""
    config = configparser.ConfigParser()
    config.read(conf)
    client = ZooKeeperClient.fromConfig(config)
    client.connect()
    try:
        keys = KeyStorage(client, password=config["keystore"]["password"], start_cache=False)
        _, public = keys.getProjectSecretsKeys(connection, project)
    finally:
        client.disconnect()
    json.dump([_encrypt(value.encode(), public) for value in json.load(sys.stdin)], sys.stdout)


def _encrypt(value: bytes, public: object) -> list[str]:
    pieces = [value[start : start + _PIECE] for start in range(0, len(value), _PIECE)]
    return [base64.b64encode(encryption.encrypt_pkcs1_oaep(piece, public)).decode() for piece in pieces]


if __name__ == "__main__":
    main(*sys.argv[1:])
