"""Operations on a logstore's index, and its form in JSON.

Called by `sls.app` through the table of operations.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sesame.model.logstore import KeyIndex, KeyType, LineIndex, LogIndex
from sesame.sls.answers import EMPTY, Answer, json_answer
from sesame.sls.calls import Call, Document
from sesame.sls.errors import SlsError

# POLICY: limits the generated SQL statement, to which each of these adds an expression.
KEYS_MAX = 500
LEAVES_MAX = 1000
DELIMITERS_MAX = 128
NAME_CHARS_MAX = 512
_TOKENISED = ("text", "json")
_MAX_TEXT_LEN = "max_text_len"


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"case_sensitive": "caseSensitive"}):
    """The index of a field, in the request's form."""

    type: KeyType = "text"
    token: tuple[str, ...] | None = None
    case_sensitive: bool = False
    chn: bool | None = None
    doc_value: bool | None = None
    alias: str | None = None
    json_keys: dict[str, "_Key"] = {}
    index_all: bool = False
    max_depth: int = -1
    embedding: Any = None
    vector_index: Any = None


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"case_sensitive": "caseSensitive"}):
    """The full-text index, in the request's form. `auto_` fields are refused unless they request nothing."""

    token: tuple[str, ...]
    case_sensitive: bool = False
    chn: bool | None = None
    include_keys: tuple[str, ...] | None = None
    exclude_keys: tuple[str, ...] | None = None
    auto_text_keys: tuple[str, ...] = ()
    auto_key_detect: bool = False
    auto_key_count_limit: int | None = None


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"modified": "lastModifyTime"}):
    """An index in the request's form, or as GetIndex returned it to a client that sends it back."""

    line: _Line | None = None
    keys: dict[str, _Key] = {}
    ttl: int = 0
    max_text_len: int | None = None
    log_reduce: bool | None = None
    index_mode: Any = None
    storage: Any = None
    modified: Any = None


async def create_index(call: Call) -> Answer:
    await call.store.create_index(call.project, call.logstore, _read(call))
    return EMPTY


async def update_index(call: Call) -> Answer:
    await call.store.update_index(call.project, call.logstore, _read(call))
    return EMPTY


async def get_index(call: Call) -> Answer:
    return json_answer(_document(await call.store.index(call.project, call.logstore)))


async def delete_index(call: Call) -> Answer:
    await call.store.delete_index(call.project, call.logstore)
    return EMPTY


def _read(call: Call) -> LogIndex:
    sent = call.json(_Index, "IndexInfoInvalid")
    if sent.line is None and not sent.keys:
        raise SlsError("IndexInfoInvalid")
    if len(sent.keys) > KEYS_MAX:
        raise SlsError("IndexInfoInvalid", f"there are {len(sent.keys)} keys: expected at most {KEYS_MAX}")
    if (leaves := sum(len(key.json_keys) for key in sent.keys.values())) > LEAVES_MAX:
        raise SlsError("IndexInfoInvalid", f"there are {leaves} json_keys: expected at most {LEAVES_MAX}")
    if sent.log_reduce:
        raise SlsError("IndexInfoInvalid", "log_reduce is not supported")
    options = {} if sent.max_text_len is None else {_MAX_TEXT_LEN: sent.max_text_len}
    return LogIndex(
        line=None if sent.line is None else _line(sent.line),
        keys={name: _key(name, key) for name, key in sent.keys.items()},
        ttl_days=sent.ttl,
        options=options,
    )


def _line(sent: _Line) -> LineIndex:
    if sent.auto_text_keys or sent.auto_key_detect:
        raise SlsError(
            "IndexInfoInvalid", "auto_key_detect and auto_text_keys are not supported: list the fields in keys"
        )
    if sent.include_keys and sent.exclude_keys:
        raise SlsError("IndexInfoInvalid", "include_keys and exclude_keys cannot be given at the same time")
    listed = sent.include_keys or sent.exclude_keys or ()
    if len(listed) > KEYS_MAX:
        raise SlsError(
            "IndexInfoInvalid", f"include_keys or exclude_keys has {len(listed)} keys: expected at most {KEYS_MAX}"
        )
    for each in listed:
        _check_name(each)
    return LineIndex(
        token=_delimiters("line", sent.token),
        case_sensitive=sent.case_sensitive,
        chn=bool(sent.chn),
        include_keys=sent.include_keys or (),
        exclude_keys=sent.exclude_keys or (),
    )


def _key(name: str, sent: _Key, *, leaf: bool = False) -> KeyIndex:
    for each in (name, *sent.json_keys, *([sent.alias] if sent.alias else ())):
        _check_name(each)
    if sent.embedding or sent.vector_index:
        raise SlsError("IndexInfoInvalid", f"key {name}: embedding and vector_index are not supported")
    if sent.type in _TOKENISED and sent.token is None and not leaf:
        raise SlsError("IndexInfoInvalid", f"key {name}: required field token is lacking or of error format")
    if sent.type != "json" and sent.json_keys:
        raise SlsError("IndexInfoInvalid", f"key {name}: json_keys needs the type json, found {sent.type}")
    if leaf and sent.type == "json":
        raise SlsError("IndexInfoInvalid", f"key {name}: expected text, long or double below a json key, found json")
    return KeyIndex(
        type=sent.type,
        token=_delimiters(name, sent.token or ()),
        case_sensitive=sent.case_sensitive,
        chn=sent.chn,
        doc_value=sent.doc_value,
        alias=sent.alias,
        json_keys={inner: _key(f"{name}.{inner}", key, leaf=True) for inner, key in sent.json_keys.items()},
        index_all=sent.index_all,
        max_depth=sent.max_depth,
    )


def _check_name(name: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX or "\0" in name:
        raise SlsError(
            "IndexInfoInvalid", f"key '{name[:64]}' is invalid: expected 1 to {NAME_CHARS_MAX} characters, no NUL"
        )


def _delimiters(name: str, sent: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [each for each in sent if len(each) != 1]:
        raise SlsError("IndexInfoInvalid", f"token of {name}: expected single characters, found '{wrong[0][:32]}'")
    if len(sent) > DELIMITERS_MAX:
        raise SlsError("IndexInfoInvalid", f"token of {name} has {len(sent)} delimiters: at most {DELIMITERS_MAX}")
    return sent


def _document(index: LogIndex) -> Document:
    document: Document = {"index_mode": "v2", "ttl": index.ttl_days, "lastModifyTime": index.modified_s}
    if index.line is not None:
        line: Document = {
            "token": index.line.token,
            "caseSensitive": index.line.case_sensitive,
            "chn": index.line.chn,
        }
        for name, keys in (("include_keys", index.line.include_keys), ("exclude_keys", index.line.exclude_keys)):
            if keys:
                line[name] = keys
        document["line"] = line
    if index.keys:
        document["keys"] = _keys_document(index.keys, leaf=False)
    return document | index.options


def _keys_document(keys: Mapping[str, KeyIndex], *, leaf: bool) -> Document:
    return {name: _key_document(key, leaf=leaf) for name, key in keys.items()}


def _key_document(key: KeyIndex, *, leaf: bool) -> Document:
    """Leaves out fields that its owner did not set: clients compare the answer with their request."""
    told: Document = {"doc_value": key.doc_value, "alias": key.alias}
    if key.type in _TOKENISED and not leaf:
        told |= {"token": key.token, "caseSensitive": key.case_sensitive, "chn": key.chn}
    document: Document = {"type": key.type} | {name: value for name, value in told.items() if value is not None}
    if key.type == "json":
        document |= {
            "index_all": key.index_all,
            "max_depth": key.max_depth,
            "json_keys": _keys_document(key.json_keys, leaf=True),
        }
    return document
