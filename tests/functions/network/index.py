"""What a function does with its network. Each handler is told an address or a URL, and returns JSON."""

import errno
import json
import os
import socket
import threading

try:
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener
except ImportError:
    from urllib2 import HTTPError, ProxyHandler, build_opener

LISTENING = []


def reach(event, context):
    """Whether a connection is accepted; else why not."""
    told = json.loads(event.decode('utf-8'))
    try:
        socket.create_connection((told['host'], told['port']), 10).close()
    except (OSError, IOError) as error:
        return json.dumps('%s: %s' % (type(error).__name__, error))
    return json.dumps(True)


def get(event, context):
    """The body that a URL has, without a proxy."""
    return build_opener(ProxyHandler({})).open(event.decode('utf-8'), timeout=30).read()


def fetch(event, context):
    """The status and the body that a URL has for a function that takes the proxy of its environment, as most do."""
    try:
        answer = build_opener().open(event.decode('utf-8'), timeout=30)
    except HTTPError as error:
        answer = error
    return json.dumps([answer.code, answer.read().decode('utf-8')])


def talk(event, context):
    """What answers `hello`, by TCP or UDP; else the error. The socket may have to be bound to a `source` first."""
    told = json.loads(event.decode('utf-8'))
    family = socket.AF_INET6 if ':' in told['host'] else socket.AF_INET
    kind = socket.SOCK_DGRAM if told['by'] == 'udp' else socket.SOCK_STREAM
    talking = socket.socket(family, kind)
    talking.settimeout(told.get('within_s', 30))
    try:
        if 'source' in told:
            talking.bind((told['source'], 0))
        talking.connect((told['host'], told['port']))
        talking.sendall(told.get('say', 'hello').encode('ascii'))
        return json.dumps({'said': talking.recv(65535).decode('ascii'), 'own': talking.getsockname()[0]})
    except (OSError, IOError) as error:
        return json.dumps({'error': '%s: %s' % (type(error).__name__, error)})
    finally:
        talking.close()


def listen(event, context):
    """Answers each connection to the port with its name, from here on."""
    told = json.loads(event.decode('utf-8'))
    listening = socket.socket()
    listening.bind((told.get('host', '0.0.0.0'), told['port']))
    # A client that waits to be spoken to would wait for ever where it found no place.
    listening.listen(128)
    LISTENING.append(listening)

    def answer():
        while True:
            connection = listening.accept()[0]
            connection.sendall(os.environ['FC_INSTANCE_ID'].encode('ascii'))
            connection.close()

    thread = threading.Thread(target=answer)
    thread.daemon = True
    thread.start()
    return json.dumps(listening.getsockname()[1])


def buffers(event, context):
    """How many bytes the kernel keeps for connections that nobody reads, of as many as it is told at most."""
    most, kept, ends = json.loads(event.decode('utf-8')), 0, []
    listening = socket.socket()
    listening.bind(('127.0.0.1', 0))
    listening.listen(5)
    piece = b'x' * (1 << 20)
    while kept < most and len(ends) < 400:
        sender = socket.create_connection(listening.getsockname(), 10)
        ends += [sender, listening.accept()[0]]
        sender.setblocking(False)
        try:
            while kept < most:
                kept += sender.send(piece)
        except (OSError, IOError) as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
                raise
    return json.dumps(kept)


def descriptors(event, context):
    """The sockets that the function has, as /proc names them."""
    found = []
    for number in os.listdir('/proc/self/fd'):
        try:
            found.append(os.readlink('/proc/self/fd/' + number))
        except OSError:
            # The listing's own.
            continue
    return json.dumps([name for name in found if name.startswith('socket:')])
