"""A job as its config.xml defines it, in as many elements as this project's definitions use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lab.jenkins.elements import Node, Unknown, parse

_PARAMETERS = {
    "hudson.model.StringParameterDefinition": "String",
    "hudson.model.TextParameterDefinition": "Text",
    "hudson.model.BooleanParameterDefinition": "Boolean",
    "hudson.model.ChoiceParameterDefinition": "Choice",
    "hudson.model.PasswordParameterDefinition": "Password",
}
_BINDINGS = "org.jenkinsci.plugins.credentialsbinding.impl."
_TIMEOUT = "hudson.plugins.build__timeout."


@dataclass(frozen=True)
class Parameter:
    """A declared parameter; `kind` is String, Text, Boolean, Choice or Password."""

    kind: str
    name: str
    default: str = ""
    choices: tuple[str, ...] = ()
    trim: bool = False


@dataclass(frozen=True)
class Binding:
    """A credential as environment: `variables` are one, or the user's and the password's."""

    kind: str
    credential: str
    variables: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """Which files of the workspace are kept."""

    patterns: str
    excludes: str = ""
    allow_empty: bool = False
    only_if_successful: bool = False


@dataclass(frozen=True)
class JUnit:
    """Where the reports of tests lie."""

    patterns: str
    allow_empty: bool = False


@dataclass(frozen=True)
class Definition:
    """A freestyle job. `timeout` is in minutes, 0 without; `keep_*` are -1 where nothing is discarded."""

    description: str = ""
    disabled: bool = False
    concurrent: bool = False
    quiet_period: int | None = None
    label: str = ""
    parameters: tuple[Parameter, ...] = ()
    keep_builds: int = -1
    keep_days: int = -1
    steps: tuple[str, ...] = ()
    publishers: tuple[Archive | JUnit, ...] = ()
    timeout: int = 0
    timeout_fails: bool = False
    bindings: tuple[Binding, ...] = field(default=())

    @property
    def parameterized(self) -> bool:
        """Whether it declares any parameter."""
        return bool(self.parameters)


def define(text: bytes) -> Definition:
    """The job that a config.xml defines. Raises Unknown for everything that would have to be ignored."""
    root = parse(text)
    if root.name != "project":
        raise Unknown(f"{root.path}: only freestyle projects are known")
    root.ignore("keepDependencies", "canRoam")
    quiet = root.text("quietPeriod")
    found = Definition(
        description=root.text("description"),
        disabled=root.flag("disabled"),
        concurrent=root.flag("concurrentBuild"),
        quiet_period=int(quiet) if quiet else None,
        label=root.text("assignedNode"),
    )
    for name in ("blockBuildWhenDownstreamBuilding", "blockBuildWhenUpstreamBuilding"):
        root.flag(name, only=False)
    for name in ("actions", "triggers"):
        _each(root, name, _nothing, found)
    scm = root.child("scm")
    if scm and scm.element.get("class") != "hudson.scm.NullSCM":
        raise scm.unknown()
    for name, reader in _SECTIONS.items():
        found = _each(root, name, reader, found)
    root.done()
    return found


Reader = Callable[[Node, Definition], Definition]


def _each(root: Node, name: str, reader: Reader, found: Definition) -> Definition:
    section = root.child(name)
    for node in section.children() if section else ():
        found = reader(node, found)
        node.done()
    return found


def _nothing(node: Node, found: Definition) -> Definition:
    raise node.unknown()


def _property(node: Node, found: Definition) -> Definition:
    if node.name == "jenkins.model.BuildDiscarderProperty":
        strategy = node.child("strategy")
        if strategy is None or strategy.element.get("class") != "hudson.tasks.LogRotator":
            raise node.unknown()
        days, number = strategy.number("daysToKeep", -1), strategy.number("numToKeep", -1)
        if strategy.number("artifactDaysToKeep", -1) != -1 or strategy.number("artifactNumToKeep", -1) != -1:
            raise strategy.unknown()
        strategy.done()
        return replace(found, keep_days=days, keep_builds=number)
    if node.name == "hudson.model.ParametersDefinitionProperty":
        definitions = node.child("parameterDefinitions")
        parameters = tuple(_parameter(child) for child in (definitions.children() if definitions else ()))
        return replace(found, parameters=parameters)
    raise node.unknown()


def _parameter(node: Node) -> Parameter:
    if node.name not in _PARAMETERS:
        raise node.unknown()
    node.ignore("description")
    name, kind, default = node.text("name"), _PARAMETERS[node.name], node.text("defaultValue")
    choices: tuple[str, ...] = ()
    if kind == "Choice":
        listed = node.child("choices")
        array = listed.child("a") if listed else None
        choices = tuple(child.element.text or "" for child in (array.children() if array else ()))
        default = choices[0]
    trim = node.flag("trim")
    node.done()
    return Parameter(kind, name, default, choices, trim)


def _builder(node: Node, found: Definition) -> Definition:
    if node.name != "hudson.tasks.Shell":
        raise node.unknown()
    return replace(found, steps=(*found.steps, node.text("command")))


def _publisher(node: Node, found: Definition) -> Definition:
    publisher: Archive | JUnit
    if node.name == "hudson.tasks.ArtifactArchiver":
        publisher = Archive(
            node.text("artifacts"),
            node.text("excludes"),
            node.flag("allowEmptyArchive"),
            node.flag("onlyIfSuccessful"),
        )
        node.ignore("fingerprint", "defaultExcludes", "latestOnly")
        node.flag("caseSensitive", only=True)
        node.flag("followSymlinks", only=False)
    elif node.name == "hudson.tasks.junit.JUnitResultArchiver":
        publisher = JUnit(node.text("testResults"), node.flag("allowEmptyResults"))
        node.ignore("keepLongStdio", "healthScaleFactor", "skipPublishingChecks")
        node.flag("skipMarkingBuildUnstable", only=False)
        more = node.child("testDataPublishers")
        if more:
            more.done()
    else:
        raise node.unknown()
    return replace(found, publishers=(*found.publishers, publisher))


def _wrapper(node: Node, found: Definition) -> Definition:
    if node.name == "hudson.plugins.timestamper.TimestamperBuildWrapper":
        return found  # Jenkins keeps the times beside the log, and progressiveText leaves them out
    if node.name == _TIMEOUT + "BuildTimeoutWrapper":
        strategy, operations = node.child("strategy"), node.child("operationList")
        if strategy is None or not str(strategy.element.get("class")).endswith(".AbsoluteTimeOutStrategy"):
            raise node.unknown()
        minutes = strategy.number("timeoutMinutes", 3)
        strategy.done()
        kinds = [child.name for child in (operations.children() if operations else ())]
        if kinds not in ([_TIMEOUT + "operations.AbortOperation"], [_TIMEOUT + "operations.FailOperation"]):
            raise node.unknown()
        return replace(found, timeout=minutes, timeout_fails=kinds[0].endswith("FailOperation"))
    if node.name == _BINDINGS + "SecretBuildWrapper":
        bindings = node.child("bindings")
        bound = tuple(_binding(child) for child in (bindings.children() if bindings else ()))
        return replace(found, bindings=(*found.bindings, *bound))
    raise node.unknown()


def _binding(node: Node) -> Binding:
    kinds = {
        _BINDINGS + "StringBinding": ("text", ("variable",)),
        _BINDINGS + "FileBinding": ("file", ("variable",)),
        _BINDINGS + "UsernamePasswordBinding": ("username-password", ("variable",)),
        _BINDINGS + "UsernamePasswordMultiBinding": ("username-password", ("usernameVariable", "passwordVariable")),
    }
    if node.name not in kinds:
        raise node.unknown()
    kind, names = kinds[node.name]
    found = Binding(kind, node.text("credentialsId"), tuple(node.text(name) for name in names))
    node.done()
    return found


_SECTIONS: dict[str, Reader] = {
    "properties": _property,
    "builders": _builder,
    "publishers": _publisher,
    "buildWrappers": _wrapper,
}
