"""Sets up an instance's own network: its loopback, and the sockets on which the host answers there.

Used by steps.py in process 1, which has every privilege in the new namespace. A socket belongs to the namespace that it
was made in, whoever holds it: the host gets them all (sandbox/jail/network.py), and the instance keeps none.
"""

import errno
import fcntl
import socket
import struct

import linux

_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
_IFF_UP, _IFF_RUNNING = 1, 0x40
_BACKLOG = 1024
_INET = struct.Struct("16sHH4s8s")
_ONE_ADDRESS = "255.255.255.255"
# Of IPv6: the address, its prefix, and the number of the loopback, which is the first of every namespace.
_INET6 = struct.Struct("16sIi")
_BITS6, _LOOPBACK = 128, 1
_IP_FREEBIND = 15
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def set_up(wanted, fds):
    """`wanted`: the index of the host's socket in `fds`, `addresses` beside 127.0.0.1 and ::1, and what to listen on.

    The host gets the sockets in the order of `listens`.
    """
    bring_up(wanted["addresses"])
    made = [_listening(*listen) for listen in wanted["listens"]]
    linux.Packets(fds[wanted["socket"]], 1).send(b"n", [one.fileno() for one in made])
    for one in made:
        one.close()


def bring_up(addresses):
    """The loopback of this network namespace, with these addresses beside 127.0.0.1 and ::1."""
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP | _IFF_RUNNING, b""))
    for number, address in enumerate(addresses, 1):
        if ":" in address:
            _add_address_6(address)
            continue
        name = ("lo:%d" % number).encode("ascii")
        for call, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, _ONE_ADDRESS)):
            fcntl.ioctl(control, call, _INET.pack(name, socket.AF_INET, 0, socket.inet_aton(value), b""))
    control.close()


def _add_address_6(address):
    control = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    fcntl.ioctl(control, _SIOCSIFADDR, _INET6.pack(socket.inet_pton(socket.AF_INET6, address), _BITS6, _LOOPBACK))
    control.close()


def _listening(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, _KINDS[kind])
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # An address can be bound to before the kernel has found that nobody else has it.
        made.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    if kind == "tcp":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except (OSError, socket.error) as error:
        raise OSError(error.errno or errno.EINVAL, "bind %s:%d inside: %s" % (address, port, error))
    if kind == "tcp":
        made.listen(_BACKLOG)
    return made
