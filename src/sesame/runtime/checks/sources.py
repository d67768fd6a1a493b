# -*- coding: utf-8 -*-
"""Compiles every source beside this file and reports what the interpreter objects to: the handler of a function.

`fc.replays` puts it into a copy of a function's code; it runs under the function's interpreter, in its sandbox.
"""

import json
import os
import warnings

FOUND_MAX = 500
SOURCE_BYTES_MAX = 4 * 1024 * 1024


def handler(event, context):
    """Returns JSON: {"file", "line", "kind", "text"} of each error and warning, in the order of the files."""
    own_file = os.path.abspath(__file__)
    root = os.path.dirname(own_file)
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(".py") and path != own_file and os.path.isfile(path):
                found.extend(check(path, os.path.relpath(path, root)))
            if len(found) >= FOUND_MAX:
                return json.dumps(found[:FOUND_MAX])
    return json.dumps(found)


def check(path, shown):
    with open(path, "rb") as opened:
        source = opened.read(SOURCE_BYTES_MAX + 1)
    if len(source) > SOURCE_BYTES_MAX:
        return []
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            compile(source.replace(b"\r\n", b"\n") + b"\n", shown, "exec", 0, True)
        except SyntaxError as error:
            found.append(finding(shown, error.lineno, type(error).__name__, error.msg))
        except (ValueError, TypeError, MemoryError, OverflowError) as error:
            found.append(finding(shown, 1, type(error).__name__, str(error)))
    return [finding(shown, each.lineno, each.category.__name__, str(each.message)) for each in caught] + found


def finding(shown, line, kind, text):
    return {"file": shown, "line": line or 1, "kind": kind, "text": text}
