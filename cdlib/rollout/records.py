"""Where release records are kept: one ConfigMap a release, in its namespace.

It is written by resourceVersion, so two writers never lose each other's entries; what falls off its end goes to
immutable ConfigMaps first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any, TypeVar

from cdlib.deadline import Deadline
from cdlib.errors import Unavailable, UsageProblem
from cdlib.redact import Redactor
from cdlib.rollout.api import Api, Conflict, Object, path
from cdlib.rollout.record import Record, Revision

SCHEMA = "cd-release/1"
KEPT = 60  # revisions in the record; at about 700 bytes each far below the 1 MiB of a ConfigMap
ARCHIVED_AT_ONCE = 20
LARGEST = 400_000  # characters; a ConfigMap holds 1 MiB, of which a character may take three bytes
_TRIES = 8
Made = TypeVar("Made")

# Labels of records, and of what is moved out of them.
MANAGED_BY, RELEASE, ARCHIVE = "app.kubernetes.io/managed-by", "cdlib.org/release", "cdlib.org/archive"
EVERYTHING = f"{MANAGED_BY}=cdlib,{RELEASE}"
SELECTOR = f"{EVERYTHING},!{ARCHIVE}"  # every record, without archives


def name_of(release: str) -> str:
    """The name of a release's record, and of its Lease."""
    return f"cd-{release}"


class Records:
    """Reads and writes the record of one release."""

    def __init__(self, api: Api, namespace: str, service: str, release: str, redactor: Redactor | None = None) -> None:
        self._api, self._namespace = api, namespace
        self._redactor = redactor or Redactor()
        self.service, self._release = service, release
        self.name = name_of(release)
        self._known: Object | None = None  # as it was read or written last

    def read(self, deadline: Deadline) -> Record:
        """The record; an empty one where there is none yet."""
        self._known = self._api.get(self._path(self.name), deadline)
        return self._parse(self._known)

    def update(self, change: Callable[[Record], None], deadline: Deadline) -> Record:
        """Apply `change` to the record and write it; on a conflict to a fresh reading of it, again.

        The first try goes by what was read or written last, which the server compares by its resourceVersion.
        """
        for number in range(_TRIES):
            if number or self._known is None:
                self._known = self._api.get(self._path(self.name), deadline)
            found = self._known
            record = self._parse(found)
            change(record)
            self._archive(record, deadline)
            _redact(record, self._redactor)
            body = self._object(self.name, {"record.json": _dump(record)})
            try:
                if found is None:
                    self._known = self._api.create(self._path(), body, deadline)
                else:
                    body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                    self._known = self._api.replace(self._path(self.name), body, deadline)
            except Conflict:
                continue
            return record
        raise Unavailable(f"the release record {self.name} changes too fast to be written", hint="run this again")

    def _archive(self, record: Record, deadline: Deadline) -> None:
        """Move the oldest entries to an object of their own, which nobody can change, before they are dropped."""
        many = len(record.revisions) >= KEPT + ARCHIVED_AT_ONCE
        large = len(record.revisions) > 3 and len(_dump(record)) > LARGEST
        if not many and not large:
            return
        count = ARCHIVED_AT_ONCE if many else len(record.revisions) // 3
        by_age = sorted(record.revisions, key=lambda entry: entry.at)
        old = by_age[:count]
        record.revisions = [entry for entry in record.revisions if entry not in old]
        name = f"{self.name}-archive-{old[0].revision}-{old[0].run[:8]}"
        body = self._object(name, {"revisions.json": json.dumps(old, default=vars, ensure_ascii=False)})
        body["metadata"]["labels"][ARCHIVE] = "true"
        with suppress(Conflict):  # a run that died after this step wrote the same entries
            self._api.create(self._path(), {**body, "immutable": True}, deadline)

    def _path(self, name: str = "") -> str:
        return path("configmaps", self._namespace, name)

    def _object(self, name: str, data: dict[str, str]) -> Object:
        labels = {MANAGED_BY: "cdlib", RELEASE: self._release}
        return {"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": name, "namespace": self._namespace, "labels": labels}}  # fmt: skip

    def _parse(self, found: Object | None) -> Record:
        return Record(self.service, self._release) if found is None else parse(found)


def parse(found: Object) -> Record:
    """The record that a ConfigMap holds. Raises UsageProblem where it holds none."""
    try:
        text = found["data"]["record.json"]
        document = json.loads(text)
        if "\\u" in text or not text.isascii():
            json.dumps(document, ensure_ascii=False).encode()  # nothing could print or write half a surrogate pair
        if document.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        entries = _entries(document["revisions"])
        return _typed(Record(**{**document, "revisions": entries}))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as problem:
        raise _unreadable(found, problem) from problem


def parse_archive(found: Object) -> list[Revision]:
    """The entries that were moved out of a record into a ConfigMap. Raises UsageProblem where it holds none."""
    try:
        return _entries(json.loads(found["data"]["revisions.json"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as problem:
        raise _unreadable(found, problem) from problem


def _entries(documents: Any) -> list[Revision]:
    entries = [_typed(_entry(e)) for e in documents]
    if not all(isinstance(w, list) and [*map(type, w)] == [str, str] for e in entries for w in e.workloads):
        raise TypeError("workloads are pairs of kind and name")
    return entries


def _unreadable(found: Object, problem: Exception) -> UsageProblem:
    meta = found["metadata"]
    return UsageProblem(
        f"the release record {meta.get('namespace')}/{meta.get('name')} cannot be read: {problem}",
        hint="a newer version may have written it: use that one, or restore the ConfigMap",
    )


def _redact(record: Record, redactor: Redactor) -> None:
    """Reasons come from logs, errors and people; whoever may read ConfigMaps must see no secret in them."""
    for entry in record.revisions:
        entry.reason = redactor.text(entry.reason)
    notes = [*record.quarantine.values(), *([record.hold] if record.hold else [])]
    for note in notes:
        note["reason"] = redactor.text(note.get("reason", ""))


def _typed(made: Made) -> Made:
    """The same, whose fields are of the types that they say. Raises TypeError: many may write ConfigMaps."""
    for name, types in _TYPES[type(made)]:
        if not isinstance(getattr(made, name), types):
            raise TypeError(f"{name} is {getattr(made, name)!r}")
    return made


def _types(kind: type[Any]) -> list[tuple[str, tuple[type, ...]]]:
    plain = {"str": str, "int": int, "list": list, "dict": dict, "None": type(None)}
    return [(f.name, tuple(plain[part.split("[")[0]] for part in str(f.type).split(" | "))) for f in fields(kind)]


_TYPES: dict[type[Any], list[tuple[str, tuple[type, ...]]]] = {kind: _types(kind) for kind in (Record, Revision)}


def _entry(document: dict[str, Any]) -> Revision:
    known = {f.name for f in fields(Revision)}
    return Revision(**{key: value for key, value in document.items() if key in known})


def _dump(record: Record) -> str:
    return json.dumps({"schema": SCHEMA, **vars(record)}, default=vars, ensure_ascii=False, indent=1)
