"""Roles that templates define by policies instead of by name, and roles for triggers.

Used by the readers of templates; `deploy.apply` creates the roles.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sesame.deploy.project import Role
from sesame.deploy.yaml_source import Node

NAME_CHARS_MAX = 64
# Roles that the console creates for triggers (reference/companions.md §2.4).
OF_TRIGGERS: Mapping[str, str] = {
    "oss": "aliyunosseventnotificationrole",
    "log": "aliyunlogetlrole",
    "mns_topic": "aliyunmnsnotificationrole",
    "cdn_events": "aliyuncdneventnotificationrole",
    "tablestore": "aliyuntablestorestreamnotificationrole",
    "rds": "aliyunrdseventnotificationrole",
    "eventbridge": "aliyuneventbridgerole",
}
_OTHER = re.compile(r"[^A-Za-z0-9.-]+")


class Wanted(msgspec.Struct, frozen=True):
    """The policies needed by a service without a role."""

    system: tuple[str, ...] = ()
    documents: tuple[dict[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.system or self.documents)

    @staticmethod
    def of(service: Node, functions: Iterable[Node]) -> "Wanted":
        """Derives them as Funcraft does: from `Policies`, `LogConfig` and asynchronous configurations."""
        given = service.mapping()
        system, documents = _policies(given.get("Policies"))
        log = given.get("LogConfig")
        if log is not None and isinstance(log.value, dict) and log.value:
            documents.append(_statement(["log:PostLogStoreLogs"], ["*"]))
        for function in functions:
            properties = function.mapping().get("Properties")
            if properties is not None and "AsyncConfiguration" in properties.mapping():
                documents.append(_statement(["fc:InvokeFunction", "mns:SendMessage", "mns:PublishMessage"], ["*"]))
                break
        return Wanted(tuple(system), tuple(documents))


def generated(service: str, region: str, wanted: Wanted) -> Role:
    """The role of a service, with Funcraft's name for it."""
    name = _OTHER.sub("-", f"aliyunfcgeneratedrole-{region}-{service}").strip("-")[:NAME_CHARS_MAX]
    return Role(name=name, system_policies=wanted.system, documents=wanted.documents)


def policy_name(node: Node) -> str:
    """The name of a system policy. Raises `TemplateError` for what is no text: no policy has a number as its name."""
    if not isinstance(node.value, str):
        raise node.refuse("the name of a policy, or a policy with its statements")
    return node.value


def document_of(role: Role) -> dict[str, Any] | None:
    """Merges the role's documents into one policy; None if it has none."""
    statements: list[Any] = []
    for document in role.documents:
        statements += [each for each in document.get("Statement", []) if each not in statements]
    return {"Version": "1", "Statement": statements} if statements else None


def _policies(node: Node | None) -> tuple[list[str], list[dict[str, Any]]]:
    """Parses a name, a document, or a list of both."""
    system: list[str] = []
    documents: list[dict[str, Any]] = []
    if node is None or node.value is None:
        return system, documents
    for each in node.items() if isinstance(node.value, list) else [node]:
        if isinstance(each.value, dict):
            if not isinstance(each.value.get("Statement", Node(None, each.place)).value, list):
                raise each.refuse("a policy with Version and a list Statement")
            documents.append(each.plain())
        else:
            system.append(policy_name(each))
    return system, documents


def _statement(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Version": "1", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resources}]}
