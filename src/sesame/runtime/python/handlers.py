"""Finds the callable for a handler string, distinguishing five failures (reference/runtime.md section 2, 6).

Used by bootstrap.py for handlers, initializers and hooks. A failed load is not cached: the next call tries again.
"""

import os
import sys

import bytecode
import failures

_PY2 = sys.version_info[0] == 2


class LoadFailure(Exception):
    """The callable was not found. `error_type` and the message go to the caller, `stack` is a flat list of strings.

    `trace` is the traceback of the module's exception, "" if it raised none.
    """

    def __init__(self, error_type, message, stack=(), trace=""):
        Exception.__init__(self, message)
        self.error_type = error_type
        self.stack = list(stack)
        self.trace = trace


class Handlers(object):
    """The callables of an instance by handler string, each looked up once, only below `code_dir`."""

    def __init__(self, code_dir):
        self._code_dir = code_dir.rstrip("/") or "/"
        self._found = {}
        self._modules = {}

    def find(self, handler):
        """Returns the callable. Raises LoadFailure."""
        if handler not in self._found:
            self._found[handler] = self._resolve(handler)
        return self._found[handler]

    def _resolve(self, handler):
        module_name, dot, attribute = handler.rpartition(".")
        if not dot or not module_name or not attribute:
            raise LoadFailure("InvalidHandleName", "Invalid handler '%s'" % handler)
        module = self._modules.get(module_name)
        if module is None:
            module = self._modules[module_name] = self._import(module_name)
        try:
            return getattr(module, attribute)
        except AttributeError:
            text = "Handler '%s' is missing on module '%s'" % (attribute, module_name)
            raise LoadFailure("HandlerNotFound", text, ["HandlerNotFound: " + text])

    def _import(self, module_name):
        """Returns the module.

        Raises LoadFailure with the kind of error; anything that is not an Exception ends the process.
        """
        dotted = module_name.replace("/", ".").strip(".")
        try:
            return _load(self._code_dir, dotted)
        except ImportError:
            raise LoadFailure(
                "ImportModuleError",
                "Unable to import module '%s'" % module_name,
                failures.last_line(sys.exc_info()),
                failures.trace_text(sys.exc_info()),
            )
        except SyntaxError:
            raise LoadFailure(
                "UserCodeSyntaxError",
                "Syntax error in module '%s'" % module_name,
                failures.syntax_stack(sys.exc_info()),
                failures.trace_text(sys.exc_info()),
            )
        except Exception:
            raise LoadFailure(
                "UserCodeError",
                "Module initialization error: '%s'" % failures.message(sys.exc_info()[1]),
                failures.flat_stack(sys.exc_info()),
                failures.trace_text(sys.exc_info()),
            )


def _load(code_dir, dotted):
    """Executes the module below `code_dir` under its full dotted name, after its packages.

    A directory without `__init__.py` counts as a package, too. If the standard library has a module of that name, the
    user's file is executed but not registered, so that the library keeps its own.
    """
    parts = dotted.split(".")
    for depth in range(1, len(parts)):
        name = ".".join(parts[:depth])
        directory = os.path.join(code_dir, *parts[:depth])
        if not _belongs(sys.modules.get(name), directory):
            if any(os.path.exists(os.path.join(directory, "__init__" + end)) for end in (".py", ".pyc")):
                _execute(name, parts[depth - 1], os.path.dirname(directory))
            else:
                _bare_package(name, directory)
    present = sys.modules.get(dotted)
    directory = os.path.join(code_dir, *parts[:-1])
    if _belongs(present, os.path.join(directory, parts[-1])):
        return present
    module = _execute(dotted, parts[-1], directory)
    if len(parts) > 1:
        setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
    return module


def _belongs(module, base):
    """Whether the module was loaded from `base` (a path without extension)."""
    if module is None:
        return False
    path = getattr(module, "__file__", None)
    if path:
        return path.startswith((base + ".", base + "/"))
    return base in list(getattr(module, "__path__", ()))


def _bare_package(name, directory):
    package = type(sys)(name)
    package.__path__ = [directory]
    package.__package__ = name
    sys.modules.setdefault(name, package)


if _PY2:

    def _execute(name, tail, directory):
        # The code would be executed in an existing module of that name; it must be a new one.
        taken = sys.modules.pop(name, None)
        try:
            return bytecode.load(name, tail, directory)
        finally:
            if taken is not None:
                sys.modules[name] = taken

else:
    from importlib._bootstrap import module_from_spec
    from importlib.machinery import PathFinder

    # Like the cloud's runtimes, which use the module imp before 3.12.
    _NotFound = ImportError if sys.version_info < (3, 12) else ModuleNotFoundError

    def _execute(name, tail, directory):
        spec = PathFinder.find_spec(name, [directory])
        if spec is None or spec.loader is None or spec.origin in (None, "namespace"):
            raise _NotFound("No module named %r" % tail, name=name)
        module = module_from_spec(spec)
        taken = name in sys.modules
        if not taken:
            sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            if not taken:
                sys.modules.pop(name, None)
            raise
        return module if taken else sys.modules.get(name, module)
