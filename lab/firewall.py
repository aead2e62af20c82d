"""The packet filter rules that the lab's servers add: found by comparing with what was there before."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from cdlib import process
from cdlib.deadline import Deadline
from lab.layout import DOCKER_BRIDGE, POD_BRIDGE

FAMILIES = ("iptables", "ip6tables")
_LIMIT = 20.0  # seconds
_OURS = re.compile(r"(KUBE-|CNI-|DOCKER(-|$))")
# Rules in the machine's own chains name one of these: the lab's bridges and its addresses.
_LINK = re.compile(r"-[io] (\S+)")
_MARKS = re.compile(rf"\b({POD_BRIDGE}|{DOCKER_BRIDGE}|10\.24[456]\.\d+\.\d+|10\.96\.\d+\.\d+)\b")


@dataclass
class Table:
    """One table of one family: its chains, and its rules as `iptables-save` writes them."""

    chains: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


Snapshot = dict[str, dict[str, Table]]


def snapshot() -> Snapshot:
    """All tables of both families as they are now; a family that this machine lacks is left out."""
    found = {}
    for family in FAMILIES:
        done = process.run([f"{family}-save"], Deadline(_LIMIT, "iptables"), hint="run: python -m lab install")
        if done.ok:
            found[family] = parse(done.stdout)
    return found


def parse(text: str) -> dict[str, Table]:
    """The tables in what `iptables-save` printed."""
    tables: dict[str, Table] = {}
    table = Table()
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], Table())
        elif line.startswith(":"):
            table.chains.append(line[1:].split()[0])
        elif line.startswith("-A "):
            table.rules.append(line)
    return tables


def removal(now: Table, before: Table, links: Collection[str] = ()) -> list[str]:
    """The lines for `iptables-restore --noflush` that take what the lab has added to a table out again.

    `links` are those that the machine has now, the lab's being gone: where Docker's chains speak of one, another
    Docker came after the lab, shares the chains by their names, and keeps them.
    """
    chains = [chain for chain in now.chains if _OURS.match(chain) and chain not in before.chains]
    if any("DOCKER" in rule and link in links for rule in now.rules for link in _LINK.findall(rule)):
        chains = [chain for chain in chains if not chain.startswith("DOCKER")]
    lines = []
    for rule in now.rules:
        words = rule.split()
        added = rule not in before.rules and words[1] not in chains
        if added and (any(word in chains for word in words) or _MARKS.search(rule)):
            lines.append(f"-D{rule[2:]}")
    lines += [f"-F {chain}" for chain in chains]
    return lines + [f"-X {chain}" for chain in chains]


def remove(before: Snapshot, links: Collection[str]) -> list[str]:
    """Take out what the lab has added since `before`; returns the rules and chains that would not go."""
    left: list[str] = []
    for family, tables in snapshot().items():
        script = _script(tables, before.get(family, {}), links)
        if not script:
            continue
        argv = [f"{family}-restore", "--noflush", "--wait", "5"]
        process.run(argv, Deadline(_LIMIT, "iptables"), stdin=script.encode())
        left += _script(snapshot().get(family, {}), before.get(family, {}), links).splitlines()
    return left


def _script(tables: dict[str, Table], before: dict[str, Table], links: Collection[str]) -> str:
    parts = []
    for name, table in tables.items():
        if lines := removal(table, before.get(name, Table()), links):
            parts += [f"*{name}", *lines, "COMMIT"]
    return "".join(f"{part}\n" for part in parts)
