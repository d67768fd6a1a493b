"""Sets up an instance's own network: its loopback, and the sockets on which the host serves it.

Used by steps.py in process 1, which has all privileges in the new namespace. A socket belongs to the namespace in which
it was created, whoever holds it: the host gets all of them (sandbox/jail/network.py), and the instance keeps none.
"""

import base64
import errno
import os
import socket
import struct

import linux

_BACKLOG = 1024
_NETLINK_ERROR = 2
_ANSWER = struct.Struct("=IHHIIi")
_ANSWER_BYTES = 4096
# The minimum, default and maximum buffer sizes in bytes of a connection, in and out: together no more than another
# socket's. The system call filter (`uncounted`) prevents functions from asking for more.
_BUFFERS = (("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 131072"), ("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 65536"))
_TCP, _UDP, _RAW = "tcp", "udp", "raw"
_KINDS = {_TCP: socket.SOCK_STREAM, _UDP: socket.SOCK_DGRAM}
# IPv4 and IPv6 options: receive what is sent to any address, and learn which; send from any address.
_TRANSPARENT = {socket.AF_INET: (socket.SOL_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
_ORIGINAL_ADDRESS = {socket.AF_INET: (socket.SOL_IP, 20), socket.AF_INET6: (socket.IPPROTO_IPV6, 74)}


def set_up(wanted, fds, bounded):
    """`wanted` has the index of the host's socket in `fds`, the input of `configure`, and the sockets to listen on.

    The host gets the sockets in the order of `listens`. `bounded` means that no cgroup counts connections' buffers.
    """
    configure(wanted["netlink"])
    if bounded:
        for path, sizes in _BUFFERS:
            linux.write_control(path, sizes)
    sockets = [_socket_for(*listen) for listen in wanted["listens"]]
    linux.Packets(fds[wanted["socket"]], 1).send(b"n", [one.fileno() for one in sockets])
    for one in sockets:
        one.close()


def configure(netlink):
    """Sends messages to the kernel: pairs of a netlink protocol and base64, made by sandbox/jail/netlink.py.

    Raises `OSError` for the first message that the kernel rejects.
    """
    for protocol, messages in netlink:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            kernel.send(base64.b64decode(messages))
            # The kernel has already processed everything; it only answers if it rejects a message or was asked to
            # answer.
            _raise_refusal(kernel, protocol)
        finally:
            kernel.close()


def _raise_refusal(kernel, protocol):
    try:
        answer = kernel.recv(_ANSWER_BYTES, socket.MSG_DONTWAIT)
    except (OSError, socket.error) as error:
        if error.errno != errno.EAGAIN:
            raise
        return
    _length, kind, _flags, number, _port, failure = _ANSWER.unpack_from(answer)
    if kind == _NETLINK_ERROR and failure:
        reason = "netlink %d, message %d: %s" % (protocol, number, os.strerror(-failure))
        raise OSError(-failure, reason)


def _socket_for(kind, address, port, takes_all):
    """A socket bound to the address and port; with `takes_all`, it also receives what is led to it for other addresses.

    A raw socket has no port: it sends packets as they are.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if kind == _RAW:
        return socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock = socket.socket(family, _KINDS[kind])
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if takes_all:
        level, option = _TRANSPARENT[family]
        sock.setsockopt(level, option, 1)
        if kind == _UDP:
            level, option = _ORIGINAL_ADDRESS[family]
            sock.setsockopt(level, option, 1)
    if kind == _TCP:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except (OSError, socket.error) as error:
        raise OSError(error.errno or errno.EINVAL, "bind %s:%d inside: %s" % (address, port, error))
    if kind == _TCP:
        sock.listen(_BACKLOG)
    return sock
