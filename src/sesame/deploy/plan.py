"""Compares a project with a server's state, and plans the steps from one to the other.

Called by the commands `deploy` and `plan`; `deploy.apply` executes the steps. Only reads from the server.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
from fastcrc import crc64

from sesame.cli.client import MOUNTED_BUCKETS_PREFIX, STANDING_ALONE_PREFIX, Refused, quoted
from sesame.deploy import archive, roles
from sesame.deploy.project import Code, Function, Note, Place, Project, Role, Trigger
from sesame.identity.policy.system_policies import SYSTEM_POLICIES
from sesame.model import limits
from sesame.model.owner import label, owner_of, spoken_owner, stands_alone

NOT_FOUND = 404
# Replaced completely, so that keys removed from the template disappear.
_WHOLE = ("environmentVariables", "layers", "routes", "filter", "methods", "events")
# Variables and keys that verify tokens may be secrets, in any text that contains them.
_MAY_BE_SECRET = re.compile(r"environmentVariables\Z|private|jwks|authInfo|authConfig\Z", re.IGNORECASE)
_SHOWN_CHARS = 60


class Asks(Protocol):
    """The part of `cli.client.Client` used by this module."""

    def ask(self, method: str, path: str, document: object = None) -> Any: ...
    def pages(self, path: str, key: str) -> Iterator[Any]: ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a deployment. `action` is create, update, replace, delete or unchanged.

    `changes` describes the differences. `code` is the zip, if any, to add to the document. `before` is a request to
    send first, such as deleting what is replaced.
    """

    action: str
    what: str
    method: str = ""
    path: str = ""
    document: Mapping[str, Any] | None = None
    code: bytes | None = None
    changes: tuple[str, ...] = ()
    before: tuple[str, str] | None = None


class Plan(msgspec.Struct, frozen=True):
    steps: tuple[Step, ...]
    notes: tuple[Note, ...]

    def changing(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action != "unchanged")


def plan(project: Project, server: Asks) -> Plan:
    """Raises the server's refusals except "not found", and `ConfigurationError` for unreadable code."""
    planner = _Planner(server)
    return Plan(tuple(planner.steps(project)), (*project.notes, *planner.notes))


def removal(project: Project, server: Asks) -> Plan:
    """The steps that remove the project's functions, triggers, domains and empty services."""
    return Plan(tuple(_Planner(server).removal(project)), ())


class _Planner:
    def __init__(self, server: Asks) -> None:
        self._server = server
        self.notes: list[Note] = []

    def steps(self, project: Project) -> Iterator[Step]:
        for role in project.roles:
            yield self._role(role, project)
        for service in project.services:
            parent = f"{MOUNTED_BUCKETS_PREFIX if 'ossMountConfig' in service.fields else ''}/services"
            path = f"{parent}/{quoted(service.name)}"
            yield self._resource(f"service {service.name}", path, parent, {"serviceName": service.name}, service.fields)
        for function in project.functions:
            yield self._function(function)
        for trigger in project.triggers:
            yield self._trigger(trigger)
        for config in project.async_configs:
            owner = config.service if config.qualifier == "LATEST" else f"{config.service}.{config.qualifier}"
            path = f"/services/{quoted(owner)}/functions/{quoted(config.function)}/async-invoke-config"
            yield self._put(f"asynchronous calls of {config.service}/{config.function}", path, config.fields)
        for setting in project.settings:
            path = f"{_function_path(owner_of(setting.function), setting.function)}/{setting.path}"
            what = f"{setting.path} of {setting.function}"
            yield self._put(what, f"{path}?qualifier={quoted(setting.qualifier)}", setting.fields)
        for domain in project.domains:
            parent = f"{_prefix(alone=domain.standing_alone)}/custom-domains"
            path = f"{parent}/{quoted(domain.name)}"
            yield self._resource(f"domain {domain.name}", path, parent, {"domainName": domain.name}, domain.fields)

    def _put(self, what: str, path: str, fields: Mapping[str, Any]) -> Step:
        """A setting that a single request creates or changes."""
        present = self._get(path)
        changes = ("new",) if present is None else tuple(_differences(fields, present))
        if not changes:
            return Step(action="unchanged", what=what)
        action = "create" if present is None else "update"
        return Step(action=action, what=what, method="PUT", path=path, document=fields, changes=changes)

    def removal(self, project: Project) -> Iterator[Step]:
        for domain in project.domains:
            prefix = _prefix(alone=domain.standing_alone)
            yield from self._delete(f"domain {domain.name}", f"{prefix}/custom-domains/{quoted(domain.name)}")
        ours = {(function.service, function.name) for function in project.functions}
        for service, function in sorted(ours):
            path = _function_path(service, function)
            found = self._get(path)
            if found is None:
                continue
            for trigger in self._server.pages(f"{path}/triggers", "triggers"):
                name = trigger["triggerName"]
                yield Step(
                    action="delete", what=f"trigger {label(service, function)}/{name}", method="DELETE",
                    path=f"{path}/triggers/{quoted(name)}",
                )  # fmt: skip
            yield from self._delete(f"asynchronous calls of {label(service, function)}", f"{path}/async-invoke-config")
            if stands_alone(service):
                yield from self._published_removal(function, path)
            yield Step(action="delete", what=f"function {label(service, function)}", method="DELETE", path=path)
        for service in sorted({each.name for each in project.services}):
            yield from self._service_removal(service, {name for owner, name in ours if owner == service})
        owners = {each.name for each in project.services} | {spoken_owner(service) for service, _function in ours}
        for role in project.roles:
            yield from self._role_removal(role.name, owners)

    def _service_removal(self, service: str, ours: set[str]) -> Iterator[Step]:
        path = f"/services/{quoted(service)}"
        if self._get(path) is None:
            return
        others = [each["functionName"] for each in self._server.pages(f"{path}/functions", "functions")]
        kept = sorted(set(others) - ours)
        if kept:
            yield Step(
                action="unchanged", what=f"service {service}", changes=(f"it has other functions: {', '.join(kept)}",)
            )
            return
        yield from self._published_removal(service, path)
        yield Step(action="delete", what=f"service {service}", method="DELETE", path=path)

    def _published_removal(self, owner: str, path: str) -> Iterator[Step]:
        """Removes the aliases and versions of a service, or of a function without a service."""
        for alias in self._server.pages(f"{path}/aliases", "aliases"):
            name = alias["aliasName"]
            yield Step(
                action="delete", what=f"alias {owner}.{name}", method="DELETE", path=f"{path}/aliases/{quoted(name)}"
            )
        for version in self._server.pages(f"{path}/versions", "versions"):
            name = version["versionId"]
            yield Step(action="delete", what=f"version {owner}.{name}", method="DELETE", path=f"{path}/versions/{name}")

    def _role_removal(self, name: str, ours: set[str]) -> Iterator[Step]:
        what, path = f"role {name}", f"/sesame/roles/{quoted(name)}"
        found = self._get(path)
        if found is None:
            return
        others = sorted(set(found.get("services", [])) - ours)
        if others:
            text = f"functions of others act in it: {', '.join(others)}"
            yield Step(action="unchanged", what=what, changes=(text,))
            return
        yield Step(action="delete", what=what, method="DELETE", path=path)

    def _delete(self, what: str, path: str) -> Iterator[Step]:
        if self._get(path) is not None:
            yield Step(action="delete", what=what, method="DELETE", path=path)

    def _role(self, role: Role, project: Project) -> Step:
        known = [name for name in role.system_policies if name in SYSTEM_POLICIES]
        for name in role.system_policies:
            if name not in SYSTEM_POLICIES:
                text = f"role {role.name}: the policy {name} is unknown here and grants nothing"
                self.notes.append(Note(Place(str(project.source)), text))
        what, path = f"role {role.name}", f"/sesame/roles/{quoted(role.name)}"
        present = self._get(path)
        attached = {each["policyName"]: each.get("document", "") for each in (present or {}).get("policies", [])}
        own = [_decoded(text) for name, text in attached.items() if name not in SYSTEM_POLICIES]
        names = sorted(name for name in attached if name in SYSTEM_POLICIES)
        if role.shared:
            known = [*names, *(name for name in known if name not in names)]
            role = msgspec.structs.replace(
                role, documents=(*(each for each in own if isinstance(each, dict)), *role.documents)
            )
        document = roles.document_of(role)
        wanted = {
            "roleName": role.name,
            "policies": known,
            "policy": "" if document is None else msgspec.json.encode(document).decode(),
        }
        if present is None:
            return Step(
                action="create", what=what, method="POST", path="/sesame/roles", document=wanted, changes=("new",)
            )
        if names == sorted(known) and own == ([document] if document is not None else []):
            return Step(action="unchanged", what=what)
        return Step(
            action="replace", what=what, method="POST", path="/sesame/roles", document=wanted,
            changes=("its policies differ",), before=("DELETE", path),
        )  # fmt: skip

    def _function(self, function: Function) -> Step:
        path = _function_path(function.service, function.name)
        what = f"function {function.label}"
        if function.runtime in limits.FOREIGN_RUNTIMES:
            text = f"{what}: {function.runtime} does not run here: its calls are refused"
            self.notes.append(Note(function.place, text))
        present = self._get(path)
        document = dict(function.fields)
        code, changed = self._code(function.code, present)
        if function.code.bucket:
            document["code"] = {"ossBucketName": function.code.bucket, "ossObjectName": function.code.object}
        if present is None:
            document["functionName"] = function.name
            return Step(
                action="create", what=what, method="POST", path=path.rpartition("/")[0],
                document=document, code=code, changes=("new",),
            )  # fmt: skip
        # Tags can be set only on creation; answers have layers with their sizes.
        settled = {**present, "layers": [_arn_of(each) for each in present.get("layers") or []], "tags": None}
        document.pop("tags", None)
        changes = [*_differences({**function.fields, "tags": None}, settled), *changed]
        if not changes:
            return Step(action="unchanged", what=what)
        return Step(
            action="update", what=what, method="PUT", path=path, document=document, code=code, changes=tuple(changes)
        )

    @staticmethod
    def _code(code: Code, present: Any) -> tuple[bytes | None, list[str]]:
        """The zip to send, None if the server has it already; and descriptions of the change."""
        if code.path is None:
            return None, ["the code is taken from the bucket again"] if code.bucket and present is not None else []
        data = archive.packed(code)
        if present is not None and str(present.get("codeChecksum")) == str(crc64.xz(data)):
            return None, []
        return data, [f"new code, {len(data)} bytes"]

    def _trigger(self, trigger: Trigger) -> Step:
        parent = f"{_function_path(trigger.service, trigger.function)}/triggers"
        path = f"{parent}/{quoted(trigger.name)}"
        name = f"{label(trigger.service, trigger.function)}/{trigger.name}"
        what = f"trigger {name} ({trigger.fields['triggerType']})"
        present = _with_config(self._get(path))
        alone = stands_alone(trigger.service)
        new = _sent({"triggerName": trigger.name, **trigger.fields}, alone=alone)
        if present is None:
            return Step(action="create", what=what, method="POST", path=parent, document=new, changes=("new",))
        # The cloud omits these fields in answers for HTTP triggers, and they cannot be changed.
        fixed = {"triggerType": trigger.fields["triggerType"]}
        if trigger.fields["triggerType"] != "http" and "sourceArn" in trigger.fields:
            fixed["sourceArn"] = trigger.fields["sourceArn"]
        if moved := tuple(_differences(fixed, present)):
            return Step(
                action="replace",
                what=what,
                method="POST",
                path=parent,
                document=new,
                changes=moved,
                before=("DELETE", path),
            )
        rest = {key: value for key, value in trigger.fields.items() if key not in ("triggerType", "sourceArn")}
        step = self._update(what, path, rest, present)
        return step if step.document is None else msgspec.structs.replace(step, document=_sent(rest, alone=alone))

    def _resource(self, what: str, path: str, parent: str, name: Mapping[str, str], fields: Mapping[str, Any]) -> Step:
        present = self._get(path)
        if present is None:
            return Step(
                action="create", what=what, method="POST", path=parent, document={**name, **fields}, changes=("new",)
            )
        return self._update(what, path, fields, present)

    @staticmethod
    def _update(what: str, path: str, fields: Mapping[str, Any], present: Any) -> Step:
        changes = tuple(_differences(fields, present))
        if not changes:
            return Step(action="unchanged", what=what)
        return Step(action="update", what=what, method="PUT", path=path, document=fields, changes=changes)

    def _get(self, path: str) -> Any:
        """The resource at `path`, or None if it does not exist."""
        try:
            return self._server.ask("GET", path)
        except Refused as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise


def _differences(wanted: Any, present: Any, path: str = "") -> Iterator[str]:
    """Describes the values of `wanted` that differ on the server. Ignores values that are not in `wanted`."""
    if isinstance(wanted, Mapping) and path.rpartition(".")[2] not in _WHOLE:
        have = present if isinstance(present, Mapping) else {}
        for key, value in wanted.items():
            yield from _differences(value, have.get(key), f"{path}.{key}" if path else key)
    elif not _same(wanted, present):
        shown = "" if _MAY_BE_SECRET.search(path) else f": {_short(present)} → {_short(wanted)}"
        yield f"{path}{shown}"


def _same(wanted: Any, present: Any) -> bool:
    """Treats None, "", 0, false and empty collections as equal: the API returns defaults for unset values."""
    if not wanted and not present:
        return True
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        return all(_same(wanted.get(key), present.get(key)) for key in {*wanted, *present})
    if isinstance(wanted, list) and isinstance(present, list):
        return len(wanted) == len(present) and all(map(_same, wanted, present))
    return bool(wanted == present)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _arn_of(layer: Any) -> Any:
    """A layer's ARN: version 2023-03-30 of the API accepts ARNs and returns objects."""
    return layer.get("arn") if isinstance(layer, Mapping) else layer


def _sent(trigger: Mapping[str, Any], *, alone: bool) -> Mapping[str, Any]:
    """A trigger to send: version 2023-03-30 of the API takes its configuration as text."""
    if not alone or "triggerConfig" not in trigger:
        return trigger
    return {**trigger, "triggerConfig": msgspec.json.encode(trigger["triggerConfig"]).decode()}


def _with_config(present: Any) -> Any:
    """A trigger from an answer, with its configuration decoded."""
    if present is None or not isinstance(present.get("triggerConfig"), str):
        return present
    return {**present, "triggerConfig": _decoded(present["triggerConfig"])}


def _prefix(*, alone: bool) -> str:
    return STANDING_ALONE_PREFIX if alone else ""


def _function_path(service: str, function: str) -> str:
    if stands_alone(service):
        return f"{STANDING_ALONE_PREFIX}/functions/{quoted(function)}"
    return f"/services/{quoted(service)}/functions/{quoted(function)}"
