"""Gerrit as the story needs it: accounts, the Verified label, and who may do what.

alice writes changes, bob approves them, only Zuul verifies and submits, and the account `cd` comments.
"""

from __future__ import annotations

from lab.loop import gerrit, identity
from lab.loop.places import Places
from lab.loop.rest import Rest, part, rest

_REVISION = "2"  # raise it when something below changes
_FIRST_PASSWORD = "secret"  # what `Init --dev` gives the account admin
_NAMES = {"zuul": "Zuul", "alice": "Alice", "bob": "Bob", "cd": "Deploys"}
_GROUPS = {"Approvers": ["bob"], "Service Users": ["zuul", "cd"], "Zuul": ["zuul"]}
_VERIFIED = {
    "name": "Verified",
    "function": "NoBlock",
    "values": {"-2": "Fails gate", "-1": "Fails", " 0": "No score", "+1": "Verified", "+2": "Gated"},
    "default_value": 0,
    "copy_condition": "changekind:NO_CODE_CHANGE",
    "commit_message": "Verified",
}
_REQUIREMENTS = {
    "Verified": "label:Verified=+2 AND -label:Verified=-2",
    # Nobody approves what they wrote themselves.
    "Code-Review": "label:Code-Review=MAX,user=non_uploader AND -label:Code-Review=MIN",
}
_ALL = "projects/All-Projects"


def configure(places: Places) -> None:
    """Set up what is missing. Raises CdError where Gerrit refuses."""
    (places.keys / "known_hosts").write_text(gerrit.host_key(places))
    done = places.gerrit / "configured"
    if done.exists() and done.read_text() == _REVISION:
        return
    admin = _admin(places)
    for user, name in _NAMES.items():
        _account(places, admin, user, name)
    ids = {group: _group(admin, group, members) for group, members in _GROUPS.items()}
    admin.put(f"{_ALL}/labels/Verified", _VERIFIED)
    # Its own function would stand beside the requirement, as another one of the same name.
    admin.put(f"{_ALL}/labels/Code-Review", {"function": "NoBlock", "commit_message": "Code-Review"})
    for name, expression in _REQUIREMENTS.items():
        body = {"name": name, "submittability_expression": expression, "allow_override_in_child_projects": True}
        admin.put(f"{_ALL}/submit_requirements/{name}", body)
    _rights(admin, ids)
    done.write_text(_REVISION)


def ensure_project(places: Places, name: str) -> None:
    """Make a project without any commit, unless it is there."""
    admin = rest(places, "admin")
    if admin.get(f"projects/{part(name)}") is None:
        admin.put(f"projects/{part(name)}", {"branches": ["master"]})


def _admin(places: Places) -> Rest:
    """The administrator, with a password and a key of the lab's own."""
    admin = rest(places, "admin")
    if not admin.accepted():
        first = Rest("admin", _FIRST_PASSWORD)
        first.put("accounts/self/password.http", {"http_password": identity.password(places, "admin")})
    admin.add_ssh_key(identity.public_key(places, "admin"))
    return admin


def _account(places: Places, admin: Rest, user: str, name: str) -> None:
    if admin.get(f"accounts/{user}") is None:
        body = {
            "name": name,
            "email": f"{user}@example.com",
            "ssh_key": identity.public_key(places, user),
            "http_password": identity.password(places, user),
        }
        admin.put(f"accounts/{user}", body)


def _group(admin: Rest, name: str, members: list[str]) -> str:
    found = admin.get(f"groups/{part(name)}") or admin.put(f"groups/{part(name)}", {"visible_to_all": True})
    for member in members:
        admin.put(f"groups/{part(name)}/members/{member}")
    return str(found["id"])


def _rights(admin: Rest, ids: dict[str, str]) -> None:
    """Who may vote and submit; whatever else had these rights loses them, administrators too."""

    def allow(group: str, least: int | None = None, most: int | None = None) -> dict[str, object]:
        votes = {"min": least, "max": most} if most is not None else {}
        return {group: {"action": "ALLOW", **votes}}

    zuul, approvers = ids["Zuul"], ids["Approvers"]
    review = {**allow("global:Registered-Users", -1, 1), **allow(approvers, -2, 2)}
    wanted = {
        "label-Verified": {"label": "Verified", "rules": allow(zuul, -2, 2)},
        "label-Code-Review": {"label": "Code-Review", "rules": review},
        "submit": {"rules": allow(zuul)},
    }
    # A permission without `rules`, even empty ones, would stand for the whole section, and take that away.
    every = {name: {"rules": dict[str, object]()} for name in wanted}
    stream = {"GLOBAL_CAPABILITIES": {"permissions": {"streamEvents": {"rules": allow(zuul)}}}}
    everywhere = ("refs/*", "refs/heads/*", "refs/meta/config")
    admin.post(
        f"{_ALL}/access",
        {
            "message": "Rights of the loop",
            "remove": {ref: {"permissions": every} for ref in everywhere},
            "add": {"refs/heads/*": {"permissions": wanted}, **stream},
        },
    )
