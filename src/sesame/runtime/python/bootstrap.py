"""The life of one instance inside its process: setup, ready, then one call after the other until the socket closes.

Entered through `attach` and `serve`, from main.py (a fresh interpreter) or jail/steps.py (a fork, which attaches before
it has a function); Python 2.7 and 3.6+. Does no work at import. An exception in user code ends the call; SystemExit and
anything else that is not an Exception ends the process.
"""

import _socket
import fcntl
import os
import sys
import traceback

import bytecode
import context
import context_alone
import context_newer
import debugging
import failures
import handlers
import output
import results
import surroundings
import watchdog
import wire
import wsgi

EXIT_STARTUP_FAILED = 129
# reference/runtime.md section 12. A frame may be slightly larger.
RESULT_LIMIT_BYTES = 32 * 1024 * 1024

_PY2 = sys.version_info[0] == 2
# The shim's modules are removed from sys.modules; these keep an entry under another name, so that contexts can be
# pickled.
_CONTEXT_MODULES = {
    "_fc_context": context,
    "_fc_context_alone": context_alone,
    "_fc_context_newer": context_newer,
}


def attach(sock_fd, out_fd):
    """Does the part of a start that is the same for every function. Returns the connection for `serve`.

    The host is at the other end of `sock_fd`; from now on all output goes to `out_fd`. Takes over both descriptors.
    Exits with status 129 on failure.
    """
    try:
        output.attach(out_fd)
        sock = _own_socket(sock_fd)
        connection = wire.Connection(sock, wire.arrival_at(sock))
        watchdog.Watchdog(connection.fileno()).start()
        return connection
    except BaseException:
        traceback.print_exc()
        _leave(EXIT_STARTUP_FAILED)


def serve(connection, site_packages="", compiled=(), until_isolated=None):
    """Serves the host at the other end of the connection. Does not return.

    `site_packages` is the directory of the runtime's packages, or empty. `compiled` are descriptors of compiled code
    (bytecode.py), to which the setup refers by index; they are taken over. `until_isolated` is called before entering
    the code's directory.
    The environment must already be the function's. Exits 0 at the end of the stream, 129 if it cannot start.
    """
    try:
        instance = _start(connection, site_packages, compiled, until_isolated)
    except wire.EndOfStream:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        _leave(EXIT_STARTUP_FAILED)
    try:
        instance.run()
    except wire.EndOfStream:
        _leave(0)
    except SystemExit as error:
        _leave(_exit_code(error))
    except:  # noqa: E722 (Python 2 raises instances of classes that are no exceptions)
        traceback.print_exc()
        _leave(1)


def _own_socket(fd):
    """The socket, with a descriptor that programs started by the function do not inherit."""
    # The C module: importing `socket` adds two milliseconds to a cold start, and is not needed here.
    if _PY2:
        sock = _socket.fromfd(fd, _socket.AF_UNIX, _socket.SOCK_STREAM)
        os.close(fd)
    else:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    sock.setblocking(True)
    return sock


def _start(connection, site_packages, compiled, until_isolated):
    header, _payload = connection.receive()
    if header.get("type") != "setup":
        raise wire.ProtocolError("expected setup, found %r" % header.get("type"))
    setup = _native(header)
    if until_isolated is not None:
        until_isolated()
    failures.show_as(setup["code_dir"], setup["code_root"])
    surroundings.prepare(setup, site_packages)
    archives = [(root, compiled[at] if isinstance(at, int) else at) for root, at in setup.get("compiled", ())]
    if archives:
        bytecode.install(bytecode.opened(archives))
    for name, module in _CONTEXT_MODULES.items():
        for context_class in vars(module).values():
            if isinstance(context_class, type):
                context_class.__module__ = name
        sys.modules[name] = module
    instance = _Instance(connection, setup)
    output.write_line("FunctionCompute %s runtime inited." % ("python" if _PY2 else "python3"))
    output.flush()
    connection.send({"type": "ready", "python": "%d.%d.%d" % sys.version_info[:3]})
    return instance


class _Instance(object):
    """Answers calls one at a time, in the main thread."""

    def __init__(self, connection, setup):
        self._connection = connection
        self._setup = setup
        self._pid = os.getpid()
        self._handlers = handlers.Handlers(setup["code_dir"])
        self._frame = context.frame(setup)
        self._credentials = surroundings.Credentials()
        self._meta = None
        function = setup["function"]
        self._names = {
            "invoke": function["handler"],
            "initialize": function["initializer"],
            "pre_freeze": setup["pre_freeze"],
            "pre_stop": setup["pre_stop"],
        }

    def run(self):
        """Never returns: the end of the stream is an exception, like everything else that ends an instance."""
        while True:
            header, payload = self._connection.receive()
            request_id = _native(header["id"])
            answer = self._answer(header, request_id, payload)
            if os.getpid() != self._pid:
                # A child forked by the handler has returned from it: only its parent may answer the host.
                _leave(0)
            output.flush()
            self._connection.send_result(request_id, *answer)

    def _answer(self, header, request_id, payload):
        """Returns (ok, HTTP response or None, body, traceback): the arguments of `Connection.send_result`."""
        if header["type"] in ("debug", "debug_wait"):
            return self._debug(header["type"])
        if "meta" in header:
            # A call without metadata has that of the previous call.
            self._meta = _native(header["meta"])
            self._credentials.refresh(self._meta.get("environment_credentials", self._meta["credentials"]))
        output.state.request_id = request_id
        if self._setup["notice"]:
            output.write_line(self._setup["notice"])
        try:
            http, body = self._call(header["type"], payload, self._frame.context(request_id, self._meta))
            if len(body) > RESULT_LIMIT_BYTES:
                return self._failed(failures.of_large_result(len(body), RESULT_LIMIT_BYTES))
            return True, http, body, u""
        except handlers.LoadFailure as error:
            return self._failed(failures.of_load_failure(error), error.trace, as_repr=True)
        except Exception:
            found = sys.exc_info()
            return self._failed(failures.of_exception(found), failures.trace_text(found))

    def _debug(self, kind):
        try:
            if kind == "debug":
                return True, None, debugging.listen(self._setup["code_dir"]), u""
            debugging.wait_for_client()
            return True, None, b"", u""
        except Exception:
            return self._failed(failures.of_exception(sys.exc_info()))

    def _call(self, kind, payload, made):
        """Returns (HTTP response or None, the result as bytes)."""
        if kind == "load":
            self._handlers.find(self._names["invoke"])
            return None, b""
        call = self._handlers.find(self._names[kind])
        if kind != "invoke":
            call(made)
            return None, b""
        http_params = self._meta.get("http_params")
        if http_params is not None:
            return wsgi.respond(call, http_params, payload, made)
        return None, results.encode(call(payload, made))

    @staticmethod
    def _failed(failure, trace=u"", as_repr=False):
        """Logs a failure and returns its answer. The cloud logs load failures as the repr of a dict."""
        body = failures.encode(failure)
        output.log("ERROR", repr(failure) if as_repr else body)
        if len(body) > RESULT_LIMIT_BYTES:
            body = failures.encode(failures.of_large_result(len(body), RESULT_LIMIT_BYTES))
        return False, None, body, trace


def _leave(code):
    """Exits without waiting for the function's threads."""
    try:
        output.flush()
    finally:
        os._exit(code)


def _exit_code(error):
    """The exit code that the interpreter itself derives from SystemExit."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    try:
        sys.stderr.write("%s\n" % (code,))
    except Exception:
        # Like the interpreter: ignore what cannot be written.
        return 1
    return 1


def _native(value):
    """JSON text as `str`, which under Python 2 is bytes."""
    if not _PY2:
        return value
    if isinstance(value, dict):
        return {_native(key): _native(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_native(item) for item in value]
    return value.encode("utf-8") if isinstance(value, type(u"")) else value
