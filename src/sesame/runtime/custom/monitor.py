"""Runs a function's own web server inside its instance, and connects Sesame to it.

Entered through `attach` and `serve`, from main.py (a fresh interpreter) or jail/steps.py (a fork); Python 3.11 and
later. Starts the program, waits until it listens, then passes connected sockets to the host, which speaks HTTP over
them: so the server can be reached in the instance's own network, while no byte of a request passes through here. Exits
like the server does.

A program that does not listen is run once per event, which it finds in its environment.
"""

# Used by `socket` to pass descriptors: imported once by a zygote, instead of by each instance.
import array  # noqa: F401
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

# From ../python: the frames of the wire protocol.
import wire

EXIT_STARTUP_FAILED = 129
HOST = "127.0.0.1"
CONNECT_TIMEOUT_S = 5.0
# How often to check whether the server listens: frequently at first, as most servers start quickly.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.05
ONE_CONNECTION, CONNECTED, REFUSED = b"c", b"k", b"e"
_HEAD_BYTES = 64 * 1024
EVENT = b"FC_CUSTOM_CONTAINER_EVENT"


class Unstarted(Exception):
    """`why` is one of model.errors.StartProblem; the message is the cloud's (reference/runtime.md section 14)."""

    def __init__(self, why, text):
        Exception.__init__(self, text)
        self.why = why


def attach(sock_fd, out_fd):
    """Redirects all output to `out_fd`. Returns the connection for `serve`. Takes over both descriptors."""
    try:
        for fd in (1, 2):
            if fd != out_fd:
                os.dup2(out_fd, fd)
        if out_fd > 2:
            os.close(out_fd)
        os.set_inheritable(sock_fd, False)
        return Host(socket.socket(fileno=sock_fd))
    except BaseException:
        traceback.print_exc()
        os._exit(EXIT_STARTUP_FAILED)


def serve(host, site_packages="", handed=(), until_isolated=None):
    """Serves the host. Does not return: exits like the server does, or with 0 when the host closes its end.

    `until_isolated` is called before entering the code's directory. The environment must already be the function's.
    """
    try:
        connector = host.connector()
        setup = host.setup()
        if until_isolated is not None:
            until_isolated()
        try:
            server = Server(setup) if setup["listens"] else Program(setup)
        except Unstarted as error:
            host.send({"type": "failed", "why": error.why, "text": str(error)})
            # The host closes its end after reading the answer.
            host.wait_for_end()
            os._exit(0)
        host.send({"type": "ready", "python": "%d.%d.%d" % sys.version_info[:3]})
        server.serve(host, connector)
        os._exit(0)
    except wire.EndOfStream:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(EXIT_STARTUP_FAILED)


class Host(object):
    """The host at the other end of the socket."""

    def __init__(self, sock):
        sock.setblocking(True)
        self.sock = sock
        self._frames = wire.Connection(sock)

    def fileno(self):
        return self.sock.fileno()

    def connector(self):
        """Receives the socket on which the host asks for connections, which comes with the first byte."""
        data, fds, _flags, _address = socket.recv_fds(self.sock, 1, 1)
        if not data:
            raise wire.EndOfStream()
        os.set_inheritable(fds[0], False)
        return socket.socket(fileno=fds[0])

    def setup(self):
        header, _payload = self._frames.receive()
        if header.get("type") != "setup":
            raise wire.ProtocolError("expected setup, found %r" % header.get("type"))
        return header

    def event(self):
        """The next call's request id and event."""
        header, event = self._frames.receive()
        if header.get("type") != "invoke":
            raise wire.ProtocolError("expected invoke, found %r" % header.get("type"))
        return header["id"], event

    def answer(self, request_id, failure):
        """`failure` is a message, or "" on success."""
        error = {"errorMessage": failure, "errorType": "ProgramFailed"}
        payload = json.dumps(error).encode("utf-8") if failure else b""
        self._frames.send_result(request_id, not failure, None, payload, "")

    def send(self, header):
        self._frames.send(header)

    def wait_for_end(self):
        while self.sock.recv(4096):
            pass


class Server(object):
    """The function's program. It listens once the constructor returns."""

    def __init__(self, setup):
        self._setup = setup
        self._port = setup["port"]
        self._deadline = time.monotonic() + setup["start_timeout_s"]
        if _listens(self._port):
            raise Unstarted(
                "unhealthy",
                "Port %d is in use already: without a network of its own, an instance can have it only once. Run Sesame "
                "with the sandbox 'jail', or have the function listen on another port." % self._port,
            )
        self._process = self._start(setup)
        self._wait_until_it_listens()
        if setup["health_check"] is not None:
            self._wait_until_it_is_healthy(setup["health_check"])

    def serve(self, host, connector):
        """Runs until the host closes its end; from now on this process exits when the server does."""
        threading.Thread(target=self._end_with_it, daemon=True).start()
        _connect(host, connector, self._port)

    def _start(self, setup):
        _enter(setup)
        try:
            return subprocess.Popen(setup["command"], stdin=subprocess.DEVNULL)
        except OSError as error:
            raise Unstarted(
                "permission" if error.errno in (errno.EACCES, errno.EPERM) else "exited", self._ended(error)
            )

    def _ended(self, error):
        shown = self._setup["shown_command"]
        if error.errno in (errno.EACCES, errno.EPERM):
            return "Failed to start function instance. Error: %s may not be executed: %s" % (shown, error.strerror)
        text = "Function instance exited unexpectedly(code %d, message:%s) with start command '%s'."
        hint = ""
        if error.errno == errno.ENOEXEC:
            hint = " A script's first line must name its interpreter (#!/bin/sh)."
        return text % (error.errno, error.strerror.lower(), shown) + hint

    def _wait_until_it_listens(self):
        pause = FIRST_PAUSE_S
        while not _listens(self._port):
            self._require_time_and_life()
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _wait_until_it_is_healthy(self, check):
        time.sleep(check["initialDelaySeconds"])
        good = bad = 0
        while good < check["successThreshold"]:
            self._require_time_and_life()
            began_at = time.monotonic()
            if _answers_well(self._port, check["httpGetUrl"], check["timeoutSeconds"]):
                good, bad = good + 1, 0
            else:
                good, bad = 0, bad + 1
                if bad >= check["failureThreshold"]:
                    raise Unstarted(
                        "unhealthy",
                        "Function instance health check failed on port %d: GET %s was not answered well %d times in a row."
                        % (self._port, check["httpGetUrl"], bad),
                    )
            if good < check["successThreshold"]:
                time.sleep(max(0.0, check["periodSeconds"] - (time.monotonic() - began_at)))

    def _require_time_and_life(self):
        code = self._process.poll()
        if code is not None:
            message = "exit status %d" % code if code >= 0 else "killed by %s" % signal.Signals(-code).name
            text = "Function instance exited unexpectedly(code %d, message:%s) with start command '%s'."
            raise Unstarted("exited", text % (code, message, self._setup["shown_command"]))
        if time.monotonic() > self._deadline:
            text = "Function instance health check failed on port %d in %d seconds."
            raise Unstarted("unhealthy", text % (self._port, self._setup["start_timeout_s"]))

    def _end_with_it(self):
        _end_as(self._process.wait())


class Program(object):
    """A function's program that is run once per event, with the event in its environment."""

    def __init__(self, setup):
        self._command = setup["command"]
        self._shown = setup["shown_command"]
        _enter(setup)

    def serve(self, host, _connector):
        """Runs until the host closes its end."""
        while True:
            request_id, event = host.event()
            host.answer(request_id, self._run(event))

    def _run(self, event):
        """Returns why it failed, or "". If a signal ended the program, ends this process in the same way."""
        environment = os.environb.copy()
        environment[EVENT] = event
        try:
            code = subprocess.call(self._command, stdin=subprocess.DEVNULL, env=environment)
        except ValueError:
            return "The event cannot be the variable %s: found a NUL byte in it, expected none" % EVENT.decode()
        except OSError as error:
            if error.errno == errno.E2BIG:
                text = "The event cannot be the variable %s: found %d bytes, expected less than 128 KiB"
                return text % (EVENT.decode(), len(event))
            return "Function instance exited unexpectedly(code %d, message:%s) with start command '%s'." % (
                error.errno, error.strerror.lower(), self._shown,
            )
        if code < 0:
            _end_as(code)
        if code:
            text = "Function instance exited unexpectedly(code %d, message:exit status %d) with start command '%s'."
            return text % (code, code, self._shown)
        return ""


def _enter(setup):
    """Enters the working directory, and checks that the program exists."""
    try:
        os.chdir(setup["code_dir"])
    except OSError as error:
        # This occurs with an image whose user may not enter the directory.
        text = "Failed to start function instance. Error: the working directory %s cannot be entered: %s"
        raise Unstarted("permission", text % (setup["code_dir"], error.strerror.lower()))
    program = setup["command"][0]
    if "/" in program and not os.path.exists(program):
        text = "Failed to start function instance. Error: the file %s is not exist"
        raise Unstarted("missing", text % setup["shown_command"].split(" ")[0])


def _end_as(code):
    """Exits like a program with this code; a negative code is that of a signal."""
    if code < 0:
        # Ineffective for the few signals that this interpreter handles or ignores, and in process 1: then exit as
        # below.
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _connect(host, connector, port):
    """Provides connections whenever the host asks for them, until it closes its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(host, selectors.EVENT_READ)
        selector.register(connector, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _events in selector.select()}
            if connector in ready:
                requests = connector.recv(4096)
                for _one in requests:
                    _give_connection(connector, port)
            if host in ready and not host.sock.recv(4096):
                return


def _give_connection(connector, port):
    try:
        sock = _connected(port, CONNECT_TIMEOUT_S)
    except OSError:
        connector.sendall(REFUSED)
        return
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socket.send_fds(connector, [CONNECTED], [sock.fileno()])


def _connected(port, timeout_s):
    """Like `socket.create_connection`, which would make the C library read files from a root that may be an image's."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect((HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _listens(port):
    try:
        _connected(port, CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _answers_well(port, url, timeout_s):
    """Whether GET is answered in time with a status below 400."""
    until = time.monotonic() + timeout_s
    try:
        with _connected(port, timeout_s) as sock:
            sock.sendall(
                ("GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n" % (url, HOST, port)).encode("ascii")
            )
            head = b""
            while b"\r\n" not in head and len(head) < _HEAD_BYTES:
                sock.settimeout(max(until - time.monotonic(), 0.001))
                piece = sock.recv(4096)
                if not piece:
                    return False
                head += piece
        status = head.split(b" ", 2)[1]
        return status.isdigit() and int(status) < 400
    except (OSError, IndexError):
        return False
