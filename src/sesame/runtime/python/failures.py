"""Turns exceptions into the error bodies that callers see, without the shim's frames (reference/runtime.md section 6).

Used by bootstrap.py and handlers.py. Never raises, for any exception. Paths of the code are written as the function
sees them (`/code`), wherever the code really is.
"""

import linecache
import os
import re
import sys
import traceback

import results

# Longer tracebacks for the terminal are cut in the middle.
TRACE_LIMIT_CHARS = 32 * 1024

# Rejected by the server's JSON decoder. A pair is one character, as Python 2 may write it.
_LONE_SURROGATES = re.compile(u"[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")

_PY2 = sys.version_info[0] == 2
_TEXT = type(u"")
# All sources below this directory belong to the platform, including the jail's.
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _Addresses(object):
    """The real directory of the code, and its path as the function sees it."""

    real = ""
    shown = ""


def show_as(code_dir, code_root):
    """From now on, paths below `code_dir` are written as paths below `code_root`."""
    _Addresses.real = code_dir.rstrip("/") + "/"
    _Addresses.shown = code_root.rstrip("/") + "/"


def of_exception(exc_info):
    """The error body, as a dict, for an exception raised by a handler."""
    kind, error, trace = exc_info
    text = message(error)
    if not text and _name(kind) == u"BdbQuit":
        # `pdb` needs a terminal, but there is none: it reads the end of its input and gives up.
        text = u"no debugger is attached: `sesame dev --debug %s/%s` starts one, which `breakpoint()` and " \
            u"`pdb.set_trace()` then stop for" % tuple(
                _text(os.environ.get(name, "")) for name in ("FC_SERVICE_NAME", "FC_FUNCTION_NAME"))
    return _body(text, _name(kind), [_frame(*entry) for entry in _entries(trace)])


def trace_text(exc_info):
    """The whole traceback as this Python prints it, with causes but without the shim's frames; "" if it is unavailable.

    For the server's terminal: callers get the error body.
    """
    try:
        if _PY2:
            lines = ["Traceback (most recent call last):\n"] + traceback.format_list(_entries(exc_info[2]))
            lines += traceback.format_exception_only(exc_info[0], exc_info[1])
        else:
            whole = traceback.TracebackException(*exc_info)
            _leave_shim_out(whole, set())
            lines = list(whole.format())
        # As for a syntax error in the file that Python was started with.
        if not (_entries(exc_info[2]) if _PY2 else whole.stack) and lines[0].startswith("Traceback"):
            del lines[0]
        text = shown(_text("".join(lines)))
        half = TRACE_LIMIT_CHARS // 2
        if len(text) > 2 * half:
            text = text[:half] + u"\n\u2026\n" + text[-half:]
        return _LONE_SURROGATES.sub(u"\ufffd", text)
    except Exception:
        return u""


def _leave_shim_out(whole, seen):
    """Removes the shim's frames from an exception and from its causes and contexts."""
    if whole is None or id(whole) in seen:
        return
    seen.add(id(whole))
    whole.stack[:] = [entry for entry in whole.stack if not _is_shim(entry.filename)]
    for other in [whole.__cause__, whole.__context__] + list(getattr(whole, "exceptions", None) or ()):
        _leave_shim_out(other, seen)


def of_load_failure(failure):
    """The error body, as a dict, for a handler that could not be loaded."""
    return _body(message(failure), failure.error_type, failure.stack)


def of_large_result(size, limit):
    """The error body, as a dict, for a result that is too large for the wire."""
    return _body(
        "response payload size %d bytes exceeds maximum allowed size (%d bytes)" % (size, limit), "ResponseTooLarge", []
    )


def encode(body):
    """The body as bytes, formatted like results."""
    return results.to_json(body)


def message(error):
    """str(error) as text. If that fails, or is not text, a placeholder that names the class."""
    try:
        return shown(_text(str(error)))
    except Exception:
        return u"<unprintable %s object>" % _name(type(error))


def last_line(exc_info):
    """For example `ModuleNotFoundError: No module named 'x'`, as a list of one."""
    try:
        # Only the first line: Python 3.11 and later appends notes.
        return [shown(_text(traceback.format_exception_only(exc_info[0], exc_info[1])[0]).strip())]
    except Exception:
        return [u"%s: %s" % (_name(exc_info[0]), message(exc_info[1]))]


def syntax_stack(exc_info):
    """File, line, source line and error of a SyntaxError, without the line with the caret."""
    error = exc_info[1]
    stack = []
    if error.filename:
        stack.append(shown(u'File "%s"' % _text(error.filename)))
        stack.append(u"line %s" % _text(error.lineno))
    source = _text(error.text or u"").strip()
    if source:
        stack.append(source)
    return stack + [u"%s: %s" % (_name(exc_info[0]), _text(error.msg))]


def flat_stack(exc_info):
    """All frames of the user's code one after the other, then the error."""
    stack = []
    for entry in _entries(exc_info[2]):
        stack.extend(_frame(*entry))
    return stack + last_line(exc_info)


def stack_text(frame):
    """The user's part of the stack that ends in `frame`, as traceback lines."""
    entries = []
    while frame is not None:
        code = frame.f_code
        if not _is_shim(code.co_filename):
            line = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
            entries.append((code.co_filename, frame.f_lineno, code.co_name, line))
        frame = frame.f_back
    return shown(_text("".join(traceback.format_list(entries[::-1]))))


def shown(text):
    """`text` with the code's real directory replaced by the one that the function sees."""
    if _Addresses.real and _Addresses.real != _Addresses.shown:
        return text.replace(_Addresses.real, _Addresses.shown)
    return text


def _body(text, kind, stack):
    body = {"errorMessage": text, "errorType": kind}
    if stack:
        body["stackTrace"] = stack
    return body


def _entries(trace):
    """(file, line, function, source) of each frame except the shim's; none if they cannot be read."""
    try:
        entries = [tuple(entry)[:4] for entry in traceback.extract_tb(trace)]
    except Exception:
        # Reading source lines calls the `__loader__` of the user's modules, which may be anything.
        return []
    return [entry for entry in entries if not _is_shim(entry[0])]


def _frame(path, line, name, source):
    frame = [shown(u'File "%s"' % _text(path)), u"line %d" % line, u"in %s" % _text(name)]
    return frame + [_text(source)] if source else frame


def _is_shim(path):
    return path.startswith(_HERE) or path.startswith("<frozen importlib")


def _name(kind):
    """The class's name as text, whatever its metaclass does."""
    try:
        return _text(type.__getattribute__(kind, "__name__"))
    except Exception:
        return _text(getattr(kind, "__name__", u"Exception"))


def _text(value):
    """Exact text: only the characters of a subclass, and the str() of anything else."""
    if isinstance(value, _TEXT):
        return value if type(value) is _TEXT else _TEXT.__getitem__(value, slice(None))
    if isinstance(value, bytes):
        return bytes.decode(value, "utf-8", "replace")
    return _text(str(value))
