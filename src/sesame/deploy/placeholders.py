"""Fills the `{{ name }}` placeholders in an application's s.yaml, as Serverless Devs does when it creates a project.

Called by `deploy.serverless_devs`. An application is a folder with a `publish.yaml`, which defines the parameters with
their defaults, and a template in its folder `src/`.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sesame.deploy import yaml_source
from sesame.deploy.project import Note, Place, Role, TemplateError
from sesame.deploy.yaml_source import Node

PUBLISH = ("publish.yaml", "publish.yml")
# The tags of art-template, the tool's template engine; other syntaxes do not match.
_TAG = re.compile(
    r"\{\{[ \t]*(?:(?P<when>if|else[ \t]+if)[ \t]+(?P<condition>[^{}\n]+?)|(?P<end>else|/if)"
    r"|(?P<name>[A-Za-z_]\w*)[ \t]*(?:\|[^{}\n]*)?)[ \t]*\}\}"
)
# One comparison in a condition; `&&` binds tighter than `||`, as in JavaScript.
_TERM = re.compile(
    r"[ \t]*(?P<no>!?)[ \t]*(?P<name>[A-Za-z_]\w*)[ \t]*(?:(?P<sign>[=!]==?)[ \t]*"
    r"(?:'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\"|(?P<bare>[\w.]+)))?[ \t]*(?P<join>&&|\|\||\Z)"
)
# JavaScript's names for a missing parameter; here, a parameter without a value is the empty text.
_NOTHING = ("undefined", "null")
_IS_FALSE = ("", "false")

# In a default: four random letters per project in the tool, so that function names of different accounts differ.
_SUFFIX = "${default-suffix}"


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Values by name: from the command line, and from the server's address."""

    parameters: Mapping[str, str]
    of_server: Mapping[str, str]
    account_id: str


class Filled(msgspec.Struct, frozen=True):
    """The filled template, the roles that its parameters require, and notes on parameters without a value."""

    text: str
    roles: tuple[Role, ...] = ()
    notes: tuple[Note, ...] = ()


def fill(path: Path, text: str, given: Given) -> Filled:
    """Raises `TemplateError` for a parameter that the template lacks, and for an invalid `publish.yaml`.

    Line numbers stay the same. Without a `publish.yaml`, a placeholder without a value stays, with a note, since a
    function's text may look like one.
    """
    names = _names(text)
    for name in given.parameters:
        if name not in names:
            known = f"; there are: {', '.join(sorted(names))}" if names else ": it has no {{ name }} to be filled"
            raise TemplateError(Place(str(path)), f"there is no parameter '{name[:80]}' in it{known}")
    publish = published(path.parent)
    if publish is None:
        return _alone(path, text, given.parameters)
    values = _Values(path, publish, given)
    filled = "".join(_pieces(path, text, values))
    return Filled(filled, tuple(values.roles.values()), tuple(values.notes))


def _alone(path: Path, text: str, parameters: Mapping[str, str]) -> Filled:
    """Fills only given parameters, in a template that belongs to no application."""
    notes = [
        Note(Place(str(path), line), f"{{{{ {name} }}}} stays as it is: -p {name}=VALUE fills it")
        for name, line in _names(text).items()
        if name not in parameters
    ]
    filled = _TAG.sub(lambda tag: parameters.get(tag["name"] or "", tag.group()), text)
    return Filled(filled, notes=tuple(notes))


def published(folder: Path) -> Path | None:
    """The `publish.yaml` of the application whose template is in this folder."""
    places = [folder] if folder.name != "src" else [folder, folder.parent]
    return next((place / name for place in places for name in PUBLISH if (place / name).is_file()), None)


def _names(text: str) -> dict[str, int]:
    """The parameters in a template, each with the number of the first line that has it."""
    found: dict[str, int] = {}
    for tag in _TAG.finditer(text):
        terms = _terms(tag["condition"]) if tag["condition"] else ()
        for name in [tag["name"]] if tag["name"] else [term["name"] for term in terms or ()]:
            found.setdefault(name, _line(text, tag.start()))
    return found


def _terms(condition: str) -> list[re.Match[str]] | None:
    """The comparisons of a condition, in order; None if its syntax is unknown."""
    found: list[re.Match[str]] = []
    at = 0
    while not found or found[-1]["join"]:
        term = _TERM.match(condition, at)
        if term is None or (term["no"] and term["sign"]):
            return None
        found.append(term)
        at = term.end()
    return found


def _text(given: Mapping[str, Node], key: str) -> str:
    """A key's text; empty for a missing key, and for one without a value, as in some published files."""
    return given[key].text() if key in given and given[key].value is not None else ""


def _suffix(account_id: str) -> str:
    """Derived from the account, so that deploying again changes the deployed functions."""
    digest = hashlib.sha256(account_id.encode()).digest()
    return "".join(chr(ord("a") + each % 26) for each in digest[:4])


class _Values:
    """Looks up each parameter once: on the command line, from the server, as a role to create, or its default."""

    def __init__(self, path: Path, publish: Path, given: Given) -> None:
        self._path, self._given = path, given
        nothing = Node({}, Place(str(publish)))
        asked = yaml_source.read(publish).mapping().get("Parameters", nothing).mapping()
        self._known = asked.get("properties", nothing).mapping()
        required = asked.get("required")
        self._required = {each.text() for each in required.items()} if required is not None else set()
        self._suffix = _suffix(given.account_id)
        self.roles: dict[str, Role] = {}
        self.notes: list[Note] = []

    def of(self, name: str, line: int) -> str:
        if name in self._given.parameters:
            return self._given.parameters[name]
        if name in self._given.of_server:
            return self._given.of_server[name]
        asked = self._known[name].mapping() if name in self._known else {}
        default = _text(asked, "default")
        if default:
            return default.replace(_SUFFIX, self._suffix)
        if "x-role" in asked:
            return self._role(name, asked["x-role"])
        if name in self._required or "default" not in asked:
            title = f" ({said[:80]})" if (said := _text(asked, "title")) else ""
            text = f"{{{{ {name} }}}} has no value{title}: pass -p {name}=VALUE"
            if all(note.text != text for note in self.notes):
                self.notes.append(Note(Place(str(self._path), line), text, error=True))
        return ""

    def _role(self, name: str, wanted: Node) -> str:
        """The role that the cloud's console creates for such a parameter; without a name it has no value."""
        given = wanted.mapping("a role")
        role = _text(given, "name")
        if not role:
            return ""
        policies = given["authorities"].items() if "authorities" in given else []
        self.roles[name] = Role(name=role, system_policies=tuple(each.text() for each in policies), shared=True)
        return f"acs:ram::{self._given.account_id}:role/{role.lower()}"

    def holds(self, condition: str, line: int) -> bool:
        terms = _terms(condition)
        if terms is None:
            raise TemplateError(
                Place(str(self._path), line),
                f"{{{{if {condition[:80]}}}}}: expected NAME, !NAME, NAME === 'TEXT' or NAME !== 'TEXT', "
                "several of them with && or || between",
            )
        any_of, all_of = False, True
        for term in terms:
            all_of = all_of and self._holds(term, line)
            if term["join"] != "&&":
                any_of, all_of = any_of or all_of, True
        return any_of

    def _holds(self, term: re.Match[str], line: int) -> bool:
        value = self.of(term["name"], line)
        if not term["sign"]:
            return (value in _IS_FALSE) is bool(term["no"])
        other = next(each for each in (term["one"], term["two"], term["bare"]) if each is not None)
        same = value == other
        if term["bare"] in _NOTHING:
            # Every parameter has a value here, possibly the empty text, as where the tool fills the template.
            same = False
        return same is (term["sign"][0] == "=")


def _pieces(path: Path, text: str, values: _Values) -> Iterator[str]:
    """Yields the text with its tags filled; only line ends of parts that a condition leaves out."""
    # For each open {{if}}: whether the current branch is taken, whether one was taken, and whether the surrounding text
    # is taken.
    branches: list[tuple[bool, bool, bool]] = []
    at = 0
    for tag in _TAG.finditer(text):
        taken = not branches or branches[-1][0]
        yield _kept(text[at : tag.start()], taken)
        at, line = tag.end(), _line(text, tag.start())
        if tag["when"] == "if":
            holds = taken and values.holds(tag["condition"], line)
            branches.append((holds, holds, taken))
        elif tag["name"]:
            yield values.of(tag["name"], line) if taken else ""
        elif not branches:
            raise TemplateError(Place(str(path), line), f"{tag.group()} stands here without an {{{{if}}}} before it")
        elif tag["end"] == "/if":
            branches.pop()
        else:
            _, done, outer = branches.pop()
            holds = outer and not done and (tag["end"] == "else" or values.holds(tag["condition"], line))
            branches.append((holds, done or holds, outer))
    if branches:
        raise TemplateError(Place(str(path)), "an {{if}} has no {{/if}} after it")
    yield text[at:]


def _kept(text: str, taken: bool) -> str:
    return text if taken else "\n" * text.count("\n")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
