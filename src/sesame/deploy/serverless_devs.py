"""Reads Serverless Devs' `s.yaml` (reference/conventions.md §4.4 to §4.6) into a project.

Called by `deploy.sources`. Deploys units of the components `fc` and `fc3`, and notes units of other components.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import dotenv, fc3_component, fc_component, fc_keys, first_edition, placeholders, yaml_source
from sesame.deploy.project import Note, Place, Project, TemplateError
from sesame.deploy.variables import Known, Variables
from sesame.deploy.yaml_source import Node

_TOP = {
    "edition", "name", "access", "vars", "actions", "services", "resources", "template", "extend", "flow", "provider",
    "global-actions", "version", "params", "description",
}  # fmt: skip
_UNIT = {"component", "props", "actions", "access", "provider", "extend", "extends", "cwd", "description", "logger"}
# How many files may extend each other in a row.
BASES_MAX = 8
_DEPLOYED = (*fc_component.NAMES, "fc3", "fc3-domain", "fc-domain")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters from the server and the command line."""

    account_id: str
    region: str
    access_key_id: str = ""
    parameters: Mapping[str, str] = {}


def read(path: Path, options: Options) -> Project:
    """Raises `TemplateError`."""
    filled = placeholders.fill(path, yaml_source.text_of(path), _given(options))
    notes: list[Note] = [*filled.notes]
    if any(note.error for note in notes):
        return Project(source=path, notes=tuple(notes))
    root = _with_base(yaml_source.parse(filled.text, str(path)), path.parent)
    if first_edition.recognized(root):
        root = first_edition.rewritten(root)
    top = root.mapping("an s.yaml with services or resources")
    yaml_source.only(root, dict.fromkeys(_TOP), notes, "an s.yaml", ignores=True)
    units = top.get("services") or top.get("resources")
    if units is None:
        raise TemplateError(root.place, "an s.yaml needs services (edition 1.0.0) or resources (edition 3.0.0)")
    by_name = units.mapping("services by name")
    known = Known(
        vars=top.get("vars", Node({}, root.place)),
        services=by_name,
        folder=path.parent,
        config={
            "AccountID": options.account_id,
            "AccessKeyID": options.access_key_id,
            "region": options.region,
        },
        environ=_environment(by_name, path.parent),
    )
    variables = Variables(known)
    made = fc_component.Parts(notes)
    for role in filled.roles:
        made.role(role)
    templates = top.get("template", Node({}, root.place)).mapping("templates by name")
    if "actions" in top:
        notes.append(Note(root.keys["actions"], _not_run(top["actions"])))
    whole = {name: variables.resolve(_extended(unit, templates), unit) for name, unit in by_name.items()}
    notes += variables.errors
    try:
        for name, unit in _of_one_region(whole, options.region, path.parent, notes).items():
            _unit(name, unit, units.keys.get(name, unit.place), made, path, options)
    except TemplateError as error:
        if not variables.errors:
            raise
        # Comes after the note on the missing value, which may have caused it.
        notes.append(Note(error.place, error.text, error=True))
    for expression, node in variables.unresolved:
        notes.append(Note(node.place, f"${{{expression[:80]}}} has its value only in the cloud, and stays unresolved"))
    return made.project(path)


def _with_base(root: Node, folder: Path, depth: int = 0) -> Node:
    """Adds what the file under `extend` has; the file itself takes precedence, and its lists replace those."""
    extend = root.value.get("extend") if isinstance(root.value, dict) else None
    if extend is None or extend.value is None:
        return root
    if depth >= BASES_MAX:
        raise TemplateError(extend.place, f"files extend each other more than {BASES_MAX} times")
    base = folder / extend.text("the path of another s.yaml")
    return _merged(_with_base(yaml_source.read(base), base.parent, depth + 1), root)


def _environment(units: Mapping[str, Node], folder: Path) -> Mapping[str, str]:
    """The shell's variables, and those of `.env` files in the tool's order: the first that has a name gives its value.

    The files are those in the folders of the units' `code`, the one beside the template, and those in the folders of
    `function.codeUri`.
    """
    code = [folder / path for unit in units.values() if (path := _path_at(unit, "props", "code"))]
    uris = [folder / path for unit in units.values() if (path := _path_at(unit, "props", "function", "codeUri"))]
    found: Mapping[str, str] = os.environ
    for each in (*code, folder, *uris):
        found = dotenv.environment(each / ".env", found)
    return found


def _path_at(node: Node, *keys: str) -> str:
    """A path that the template has as text; empty for another value, or for one with a variable."""
    found: Any = node
    for key in keys:
        found = found.value.get(key) if isinstance(found.value, dict) else None
        if found is None:
            return ""
    return found.value if isinstance(found.value, str) and "${" not in found.value else ""


def _of_one_region(units: dict[str, Node], region: str, folder: Path, notes: list[Note]) -> dict[str, Node]:
    """Drops units that deploy another unit's function to another region, since Sesame has only one.

    Keeps the unit for this server's region, otherwise the first. Two units for the same region are an error.
    """
    kept: dict[str, Node] = {}
    by_function: dict[str, str] = {}
    for name, unit in units.items():
        props = unit.mapping().get("props", Node({}, unit.place))
        function = _function_of(props) if _kind(unit, props, folder) in _DEPLOYED else ""
        former = by_function.get(function)
        if not function or former is None:
            by_function[function] = name
            kept[name] = unit
            continue
        regions = [_text_at(kept[former].mapping()["props"], "region"), _text_at(props, "region")]
        if regions[0] == regions[1]:
            first = f"{former} in line {kept[former].place.line}"
            text = f"{name}: the function '{function[:80]}' stands here twice; the first is that of {first}"
            notes.append(Note(unit.place, text, error=True))
            continue
        left = name
        if regions[1] == region:
            left, by_function[function] = former, name
            kept = {(name if each == former else each): (unit if each == former else kept[each]) for each in kept}
        text = f"{left} is left out: it deploys '{function[:80]}', as {by_function[function]} does, to another region"
        notes.append(Note(units[left].place, f"{text}, and there is one region here"))
    return kept


def _function_of(props: Node) -> str:
    """`NAME` for fc3 or `SERVICE/NAME` for fc; empty if the props define no function, or only name one."""
    given = props.mapping() if isinstance(props.value, dict) else {}
    if "functionName" in given:
        return _text_at(props, "functionName")
    function, service = given.get("function"), given.get("service")
    if function is None or service is None or not isinstance(function.value, dict):
        return ""
    owner = _text_at(service, "name") if isinstance(service.value, dict) else str(service.value)
    return f"{owner}/{_text_at(function, 'name')}"


def _text_at(node: Node, key: str) -> str:
    found = node.mapping().get(key) if isinstance(node.value, dict) else None
    return "" if found is None or found.value is None else found.text()


def _not_run(actions: Node) -> str:
    """Describes actions that are not run, with commands that a user may have to run, such as `npm install`."""
    commands: list[str] = []
    for moment, steps in actions.mapping("steps by moment").items():
        if not (moment.startswith("pre-") and isinstance(steps.value, list)):
            continue
        for step in steps.value:
            given = step.value if isinstance(step.value, dict) else {}
            if "run" in given:
                where = f" in {given['path'].text()}" if "path" in given else ""
                commands.append(f"`{given['run'].text()[:120]}`{where}")
    first = f"; where the code needs them, run them before: {', '.join(commands)}" if commands else ""
    return f"actions: commands of a template are not run{first}"


def _given(options: Options) -> placeholders.Given:
    of_server = {"access": "default", "region": options.region, "accountId": options.account_id}
    return placeholders.Given(parameters=options.parameters, of_server=of_server, account_id=options.account_id)


def _unit(name: str, unit: Node, place: Place, made: "fc_component.Parts", path: Path, options: Options) -> None:
    given = unit.mapping("component and props")
    yaml_source.only(unit, dict.fromkeys(_UNIT), made.notes, "a service", ignores=True)
    if "actions" in given:
        made.notes.append(Note(unit.keys["actions"], f"{name}: {_not_run(given['actions'])}"))
    component = yaml_source.require(unit, "component", f"the service '{name}'").text()
    props = given.get("props", Node({}, unit.place))
    kind = _kind(unit, props, path.parent)
    at = fc_keys.At(path.parent, options.account_id, options.region)
    if kind in _DEPLOYED and not props.value:
        # Common in the vendor's own examples for other commands of the tool.
        made.notes.append(Note(place, f"{name}: its props are empty, so it deploys nothing"))
    elif kind in fc_component.NAMES:
        fc_component.read(props, made, at)
    elif kind in ("fc3", "fc3-domain"):
        fc3_component.read(name, props, made, at)
    elif kind == "fc-domain":
        fc_component.read(Node({"customDomains": Node([props], props.place)}, props.place), made, at)
    else:
        close = yaml_source.close(_named(component), _DEPLOYED)
        text = f"{name}: the component {component[:80]} is not deployed by Sesame"
        made.notes.append(Note(place, f"{text}; did you mean '{close}'?" if close else text))


def _kind(unit: Node, props: Node, folder: Path) -> str:
    """The component that deploys the unit; empty if it names none."""
    component = _text_at(unit, "component")
    return _of_folder(folder / component, props) if component.startswith((".", "/")) else _named(component)


def _named(component: str) -> str:
    """Normalises a component's name: `devsapp/fc3@0.1.0` is `fc3`."""
    return component.rpartition("/")[2].partition("@")[0].lower()


def _of_folder(folder: Path, props: Node) -> str:
    """The component defined by a folder's `publish.yaml`, otherwise derived from the props."""
    for name in placeholders.PUBLISH:
        if (folder / name).is_file() and "Name" in (said := yaml_source.read(folder / name).mapping()):
            return _named(said["Name"].text())
    given = props.mapping()
    if "functionName" in given:
        return "fc3"
    return "fc3-domain" if "domainName" in given else fc_component.NAMES[0]


def _extended(unit: Node, templates: Mapping[str, Node]) -> Node:
    """Adds what `extend: {name: …}` takes from `template`; the unit's own props take precedence."""
    extend = unit.mapping().get("extend")
    if extend is None or extend.value is None:
        return unit
    wanted = yaml_source.require(extend, "name", "extend").text()
    base = templates.get(wanted)
    if base is None:
        raise TemplateError(extend.place, f"there is no template '{wanted[:80]}'{yaml_source.meant(wanted, templates)}")
    own = unit.mapping().get("props", Node({}, unit.place))
    merged = _merged(base, own)
    return msgspec.structs.replace(unit, value={**unit.value, "props": merged}, keys={**unit.keys, "props": own.place})


def _merged(base: Node, own: Node) -> Node:
    if not (isinstance(base.value, dict) and isinstance(own.value, dict)):
        return own
    values: dict[str, Any] = dict(base.value)
    for key, node in own.value.items():
        values[key] = _merged(values[key], node) if key in values else node
    return Node(values, own.place, {**base.keys, **own.keys})
