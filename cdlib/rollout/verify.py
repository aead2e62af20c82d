"""Whether a release that is up also answers as it should: the HTTP checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdlib.answers import pieces, staying_session
from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, Unavailable, UsageProblem
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.connection import first_part
from cdlib.rollout.endpoints import behind
from cdlib.rollout.lease import Lease
from cdlib.rollout.patience import SETTLING
from cdlib.rollout.verdict import Fault
from cdlib.run import Run
from cdlib.service import HttpCheck, Verify
from cdlib.target import Environment

ASK_EVERY = 0.1  # seconds
PATIENCE = 15.0  # seconds that one check may fail before it has failed: endpoints follow readiness with a delay


@dataclass(frozen=True)
class Request:
    """A check with the place it goes to: a full URL, or a path of the Kubernetes API that leads to the Service.

    `service` is the Service that answers it, in `namespace`, as the chart has it; None where that is not known.
    """

    check: HttpCheck
    where: str
    through_api: bool
    namespace: str = ""
    service: Object | None = None


def plan_requests(verify: Verify, services: Sequence[Object], environment: Environment) -> list[Request]:
    """Where each HTTP check goes. Raises UsageProblem where that is not plain, before anything is written."""
    return [_plan(check, services, environment) for check in verify.http]


def check_http(run: Run, api: Api, requests: Sequence[Request], deadline: Deadline,
               lease: Lease) -> tuple[Fault, ...]:  # fmt: skip
    """Ask each check in turn; the fault of the first that fails, none where all hold."""
    for request in requests:
        with run.stage("http", request.check.path):
            fault = _Asking(run, api, request, deadline, lease).fault()
        if fault:
            return (fault,)
    return ()


def _plan(check: HttpCheck, services: Sequence[Object], environment: Environment) -> Request:
    names = [str(s["metadata"]["name"]) for s in services]
    name = check.service or (names[0] if len(names) == 1 else "")
    service = next((s for s in services if s["metadata"]["name"] == name), None)
    if environment.url:
        return Request(check, environment.url + check.path, False, environment.namespace, service)
    if name not in names:
        wrong = f"the chart has no Service {name!r}" if name else f"the chart has {len(names)} Services"
        raise UsageProblem(
            f"the HTTP check of {check.path} does not know where to go: {wrong}",
            hint=f"name one by `service`: {', '.join(names) or 'the chart must have one'}",
        )
    specs = [s.get("spec") or {} for s in services if s["metadata"]["name"] == name]
    ports = [p for spec in specs for p in spec.get("ports") or [] if isinstance(p, dict) and "port" in p]
    numbers = [p["port"] for p in ports if check.port in ("", p.get("port"), p.get("name"))]
    if not numbers:
        raise UsageProblem(
            f"the Service {name} has no port {check.port!r}", hint="mend `port` in cd.yaml's deploy.verify"
        )
    where = path("services", environment.namespace, f"{name}:{numbers[0]}") + f"/proxy{check.path}"
    return Request(check, where, True, environment.namespace, service)


class _Asking:
    """One check, which is asked until its answer is right."""

    def __init__(self, run: Run, api: Api, request: Request, deadline: Deadline, lease: Lease) -> None:
        self._run, self._api, self._request = run, api, request
        self._deadline, self._lease = deadline, lease
        self._settled = self._settling()

    def fault(self) -> Fault | None:
        """None once an answer is right; a fault with the last one where none ever was.

        Where the cluster has not brought the Service's Endpoints up to date, as after an API server that was away, no
        answer tells anything: a right one may be that of a pod that goes, and a pod that is gone never answers. So they
        are waited for first, and where they fall behind while it is asked, it is asked anew.
        """
        while True:
            self._await_endpoints()
            said = self._ask_for_a_while()
            if not said:
                return None
            if not self._behind():
                break
        self._run.events.emit("http_check", path=self._request.check.path, said=said)
        return Fault("", "", "HttpCheck", f"GET {self._request.check.path}: {said}")

    def _settling(self) -> Deadline:
        return self._deadline.part(SETTLING, "endpoints")

    def _away(self) -> bool:
        """Whether the cluster was away until just now: its controllers then have their time anew."""
        away = self._lease.require()
        if away:
            self._settled = self._settling()
        return away

    def _behind(self) -> bool:
        """Whether the Service's Endpoints are not up to date, and it can still be hoped that they will be."""
        service = self._request.service
        if service is None or self._settled.over:
            return False
        return behind(self._api, self._request.namespace, service, self._deadline)

    def _await_endpoints(self) -> None:
        told = False
        while self._behind():
            if not told:
                self._run.note("the Service's endpoints are not those of its ready pods yet, and are waited for")
                told = True
            self._away()
            time.sleep(min(ASK_EVERY, self._settled.left))

    def _ask_for_a_while(self) -> str:
        """What was wrong with the last answer for as long as a check may fail; empty as soon as one is right."""
        said, limit = "", self._patience()
        while not limit.over:
            if self._away():  # which says nothing of the service
                limit = self._patience()
            try:
                status, body = _ask(self._api, self._request, limit)
                said = _wrong(self._request.check, status, body, self._run.redactor.text)
            except OutOfTime:
                break
            except Unavailable as problem:
                if limit.over and said:
                    break  # the last question was cut short by our own limit: what was said before tells more
                said = problem.message
            if not said:
                return ""
            time.sleep(min(ASK_EVERY, limit.left))
        return said or "no answer"

    def _patience(self) -> Deadline:
        return self._deadline.part(PATIENCE, "an HTTP check")


def _ask(api: Api, request: Request, deadline: Deadline) -> tuple[int, str]:
    if request.through_api:
        return api.fetch(request.where, deadline)
    import requests

    try:
        with staying_session() as session:
            session.trust_env = False  # no ~/.netrc: a check must not carry credentials
            limit = min(10.0, max(0.1, deadline.left))
            with session.get(request.where, timeout=limit, allow_redirects=False, stream=True) as answer:
                return answer.status_code, first_part(
                    pieces(answer, deadline, "reading the service's answer"), deadline
                )
    except requests.RequestException as problem:
        raise Unavailable(
            f"no answer: {type(problem).__name__}", hint="see that the address in targets.yaml leads to the service"
        ) from problem


def _wrong(check: HttpCheck, status: int, body: str, hide: Callable[[str], str]) -> str:
    if status != check.status:  # hidden before it is cut: half of a secret is not known as one
        return f"answered {status}, expected {check.status}" + (f": {hide(body)[:200]}" if status >= 400 else "")
    if check.contains and check.contains not in body:
        return f"answered without {check.contains!r}"
    return ""
