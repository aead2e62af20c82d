"""The question that the authorizer asks: was every commit of this deploy reviewed as targets.yaml wants it?"""

from __future__ import annotations

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.review_policy import Gerrit
from cdlib.target import Target
from cdlib.trust.approval import read_signers
from cdlib.trust.case import Law
from cdlib.trust.identity import read_people
from cdlib.trust.mirror import Mirror
from cdlib.trust.notedb import Server
from cdlib.trust.review import Request, Verdict, authorize
from cdlib.trust.signed import Signing


def authorize_reviewed(target: Target, request: Request, deadline: Deadline, environment: str = "") -> list[Verdict]:
    """The verdicts on every commit of the request, oldest first, by an up to date mirror of Gerrit.

    Where the policy of `environment` is `signed`, each change needs a signed approval for it as well.
    Raises Refused where any commit is refused, Unavailable where Gerrit cannot be reached, NotAllowed where it does not
    let us read, UsageProblem where targets.yaml does not say what to ask for.
    """
    gerrit, policy = target.gerrit, target.review
    if gerrit is None or policy is None:
        missing = "gerrit" if gerrit is None else f"services.{target.service}.review"
        raise UsageProblem(f"targets.yaml has no {missing}: it says whose reviews count", hint="see docs/trust.md")
    server = Server(gerrit.server_id, gerrit.mail)
    law = Law(policy, read_people(gerrit.accounts, gerrit.same_person), server, _signing(target, gerrit, environment))
    mirror = Mirror(gerrit.mirrors, gerrit.url, target.project, deadline)
    alarms = mirror.update([policy.branch], server)
    return authorize(mirror.repository, request, law, alarms)


def _signing(target: Target, gerrit: Gerrit, environment: str) -> Signing | None:
    """What has to be signed; None where nothing has to."""
    if not environment or target.environments[environment].policy != "signed":
        return None
    if gerrit.allowed_signers is None:
        raise UsageProblem(
            f"{environment} has policy 'signed', and targets.yaml does not say whose signatures count",
            hint="name the file by gerrit.allowed_signers; docs/keys.md says what is in it",
        )
    return Signing(target.project, environment, read_signers(gerrit.allowed_signers))
