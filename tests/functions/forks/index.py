from __future__ import print_function

import os
import signal
import sys


def falls_through(event, context):
    """The child returns from the handler like its parent; only one of them may answer."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return 'parent'
    return 'child'


def raises(event, context):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return 'parent'
    raise ValueError('in the child')


def terminated(event, context):
    """A child that gets SIGTERM dies of it: it is not the instance."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    _pid, status = os.waitpid(pid, 0)
    return str(os.WTERMSIG(status))


def pool(event, context):
    import multiprocessing
    reading, writing = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_send, args=(writing, context))
    process.start()
    answer = reading.recv()
    process.join()
    return answer


def _send(writing, context):
    print('in the child process')
    sys.stdout.flush()
    writing.send([context.request_id, os.getpid() != os.getppid()])


def leaves_holder(event, context):
    """Ends while a child still holds every descriptor."""
    if os.fork() == 0:
        signal.pause()
    os._exit(6)
