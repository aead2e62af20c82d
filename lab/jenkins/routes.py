"""Which address does what. Each handler is given the request and the parts of its path."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable

from lab.jenkins import documents, triggers
from lab.jenkins.answers import Answer, Request, shown
from lab.jenkins.controller import Controller
from lab.jenkins.elements import Unknown
from lab.jenkins.queue import Item
from lab.jenkins.rights import Denied, Gate
from lab.jenkins.store import DONE, Build, Job

Handler = Callable[..., Answer]
_JOB = r"/job/(?P<name>[^/]+)"
# What Jenkins sends with each artifact unless hudson.model.DirectoryBrowserSupport.CSP says otherwise, and under which
# names: https://www.jenkins.io/doc/book/security/configuring-content-security-policy/
ARTIFACT_POLICY = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"
_POLICY_HEADERS = ("Content-Security-Policy", "X-WebKit-CSP", "X-Content-Security-Policy")
_BUILD = _JOB + r"/(?P<number>\d+|lastBuild|lastCompletedBuild|lastSuccessfulBuild)"


class Routes:
    """The addresses of one server."""

    def __init__(self, controller: Controller, gate: Gate) -> None:
        self._controller = controller
        self._gate = gate
        table: dict[str, Handler] = {
            r"/(?:api/json)?": self._root,
            r"/login": self._login,
            r"/crumbIssuer/api/json": self._crumb,
            r"/(?:me|whoAmI)/api/json": self._me,
            r"/computer/api/json": self._computers,
            r"/queue/api/json": self._queue,
            r"/queue/item/(?P<id>\d+)/api/json": self._item,
            r"/queue/cancelItem": self._cancel,
            r"/(?P<word>quietDown|cancelQuietDown)": self._quiet,
            r"/createItem": self._create,
            _JOB + r"/api/json": self._job,
            _JOB + r"/config\.xml": self._config,
            _JOB + r"/(?P<word>enable|disable|doDelete)": self._manage,
            _JOB + r"/(?P<word>build|buildWithParameters)": self._trigger,
            _BUILD + r"/api/json": self._build,
            _BUILD + r"/stop": self._stop,
            _BUILD + r"/doDelete": self._delete_build,
            _BUILD + r"/logText/progressiveText": self._log,
            _BUILD + r"/consoleText": self._whole_log,
            _BUILD + r"/testReport/api/json": self._tests,
            _BUILD + r"/artifact/(?P<path>.+)": self._artifact,
        }
        self._table = [(re.compile(pattern), handler) for pattern, handler in table.items()]

    def answer(self, request: Request) -> Answer:
        """The answer to a request. Raises Denied for what is refused."""
        if not request.path.startswith(("/me/", "/whoAmI/", "/login")):
            request.caller.require("Overall/Read")
        for pattern, handler in self._table:
            if found := pattern.fullmatch(request.path):
                with self._controller.lock:
                    return handler(request, **found.groupdict())
        raise Denied(404, "Not Found")

    def _root(self, request: Request) -> Answer:
        jobs = [job for job in self._controller.store.jobs.values() if request.caller.may("Job/Read")]
        return shown(request, documents.root(self._controller, jobs))

    def _login(self, request: Request) -> Answer:
        return Answer(200, b"<html><head><title>Sign in</title></head></html>", {"Content-Type": "text/html"})

    def _crumb(self, request: Request) -> Answer:
        document, headers = self._gate.crumb(request.caller)
        return shown(request, document, headers)

    def _me(self, request: Request) -> Answer:
        name = request.caller.name
        return shown(request, {"_class": "hudson.model.User", "id": name, "name": name, "fullName": name,
                               "anonymous": request.caller.user is None})  # fmt: skip

    def _computers(self, request: Request) -> Answer:
        return shown(request, documents.computers(self._controller))

    def _queue(self, request: Request) -> Answer:
        items = [item for item in self._controller.queue.waiting() if request.caller.may("Job/Read")]
        return shown(request, {"_class": "hudson.model.Queue",
                               "items": [documents.item(self._controller, item) for item in items]})  # fmt: skip

    def _item(self, request: Request, id: str) -> Answer:
        return shown(request, documents.item(self._controller, self._find_item(request, id)))

    def _cancel(self, request: Request) -> Answer:
        request.require_post()
        item = self._find_item(request, request.query.get("id") or request.form.get("id", ""))
        if not request.caller.may("Job/Cancel"):
            raise Denied(422, f"Item for id ({item.id}) is not cancellable")
        if not self._controller.cancel(item):
            raise Denied(500, f"Could not cancel run for id {item.id}")
        return Answer(204)

    def _quiet(self, request: Request, word: str) -> Answer:
        request.require_post()
        request.caller.require("Overall/Administer")
        self._controller.quieting = word == "quietDown"
        self._controller.wake()
        return self._redirect("")

    def _create(self, request: Request) -> Answer:
        request.require_post()
        request.caller.require("Job/Create")
        try:
            self._controller.store.create(request.query.get("name", ""), request.body)
        except ValueError as problem:
            raise Denied(400, str(problem), {"X-Error": str(problem).encode("ascii", "replace").decode()}) from problem
        except Unknown as problem:
            raise self._unknown(problem) from problem
        return Answer(200)

    def _job(self, request: Request, name: str) -> Answer:
        return shown(request, documents.job(self._controller, self._find_job(request, name)))

    def _config(self, request: Request, name: str) -> Answer:
        job = self._find_job(request, name)
        request.caller.require("Job/Configure")
        if request.method == "GET":  # rewritten, as Jenkins does: nobody may compare it with what was sent
            body = re.sub(rb"\A\s*<\?xml[^>]*\?>\s*", b"", job.config)
            header = b"<?xml version='1.1' encoding='UTF-8'?>\n"
            return Answer(200, header + body, {"Content-Type": "application/xml"})
        request.require_post()
        try:
            job.configure(request.body)
        except Unknown as problem:
            raise self._unknown(problem) from problem
        self._controller.wake()
        return Answer(200)

    def _manage(self, request: Request, name: str, word: str) -> Answer:
        job = self._find_job(request, name)
        request.require_post()
        request.caller.require("Job/Delete" if word == "doDelete" else "Job/Configure")
        if word == "doDelete":
            self._controller.store.delete(job.name)
        else:
            job.disable(word == "disable")
        return self._redirect("" if word == "doDelete" else f"job/{name}/")

    def _trigger(self, request: Request, name: str, word: str) -> Answer:
        job = self._find_job(request, name)
        request.require_post()
        request.caller.require("Job/Build")
        definition = job.definition
        if definition.disabled:
            raise Denied(409, f"{name} is not buildable")
        if word == "build" and definition.parameterized:
            raise Denied(400, "Nothing is submitted")
        if word == "buildWithParameters" and not definition.parameterized:
            raise Denied(500, f"{name} is not parameterized")
        usual = definition.quiet_period
        usual_delay = self._controller.settings.quiet_period if usual is None else float(usual)
        delay = triggers.delay(request.query.get("delay") or request.form.get("delay", ""), usual_delay)
        values = triggers.values(definition, {**request.query, **request.form})
        item, there = self._controller.trigger(job, values, request.caller.name, delay)
        address = {"Location": f"{self._controller.url}queue/item/{item.id}/"}
        return Answer(303 if there and word == "buildWithParameters" else 201, b"", address)

    def _build(self, request: Request, name: str, number: str) -> Answer:
        job, build = self._find_build(request, name, number)
        return shown(request, documents.build(self._controller, job, build))

    def _stop(self, request: Request, name: str, number: str) -> Answer:
        _, build = self._find_build(request, name, number)
        request.require_post()
        request.caller.require("Job/Cancel")
        self._controller.interrupt(name, build.number, request.caller.name)
        return self._redirect(f"job/{name}/{build.number}/")

    def _delete_build(self, request: Request, name: str, number: str) -> Answer:
        job, build = self._find_build(request, name, number)
        request.require_post()
        request.caller.require("Run/Delete")
        job.delete(build.number)
        return self._redirect(f"job/{name}/")

    def _log(self, request: Request, name: str, number: str) -> Answer:
        job, build = self._find_build(request, name, number)
        more = build.state != DONE  # asked first: what is written after this is for the next request
        whole = job.log(build.number).read_bytes()
        start = int(request.query.get("start") or request.form.get("start", "0"))
        part = whole[start:] if 0 <= start <= len(whole) else whole
        headers = {"Content-Type": "text/plain;charset=utf-8", "X-Text-Size": str(len(whole))}
        return Answer(200, part.replace(b"\n", b"\r\n"), {**headers, **({"X-More-Data": "true"} if more else {})})

    def _whole_log(self, request: Request, name: str, number: str) -> Answer:
        job, build = self._find_build(request, name, number)
        return Answer(200, job.log(build.number).read_bytes(), {"Content-Type": "text/plain;charset=utf-8"})

    def _tests(self, request: Request, name: str, number: str) -> Answer:
        _, build = self._find_build(request, name, number)
        if build.tests is None:
            raise Denied(404, "Not Found")
        return shown(request, build.tests)

    def _artifact(self, request: Request, name: str, number: str, path: str) -> Answer:
        job, build = self._find_build(request, name, number)
        if path not in build.artifacts:
            raise Denied(404, "Not Found")
        body = (job.archive(build.number) / path).read_bytes()
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        policy = dict.fromkeys(_POLICY_HEADERS, ARTIFACT_POLICY)
        return Answer(200, body, {"Content-Type": kind, "X-Content-Type-Options": "nosniff", **policy})

    def _find_job(self, request: Request, name: str) -> Job:
        job = self._controller.store.jobs.get(name)
        if job is None or not request.caller.may("Job/Read"):  # nobody learns which of the two it is
            raise Denied(404, "Not Found")
        return job

    def _find_build(self, request: Request, name: str, number: str) -> tuple[Job, Build]:
        job = self._find_job(request, name)
        numbers = sorted(job.builds) if number == "lastBuild" else sorted(n for n, b in job.builds.items() if b.result)
        chosen = int(number) if number.isdigit() else numbers[-1] if numbers else 0
        build = job.builds.get(chosen)
        if build is None:
            raise Denied(404, "Not Found")
        return job, build

    def _find_item(self, request: Request, id: str) -> Item:
        item = self._controller.queue.get(int(id)) if id.isdigit() else None
        if item is None or not request.caller.may("Job/Read"):
            raise Denied(404, f"Provided id ({id}) not found")
        return item

    def _unknown(self, problem: Unknown) -> Denied:
        return Denied(500, f"This stand-in does not know: {problem}", {"X-Error": f"unknown: {problem}"})

    def _redirect(self, path: str) -> Answer:
        return Answer(302, b"", {"Location": self._controller.url + path})
