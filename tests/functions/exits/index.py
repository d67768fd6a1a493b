import ctypes
import os
import signal
import sys
import threading


def by_sys(event, context):
    print('before the end')
    sys.exit(3)


def with_text(event, context):
    sys.exit('a reason')


def hard(event, context):
    os._exit(9)


def by_signal(event, context):
    os.kill(os.getpid(), signal.SIGKILL)


def by_realtime_signal(event, context):
    os.kill(os.getpid(), 40)


def crashes(event, context):
    ctypes.string_at(0)


def with_thread(event, context):
    """A thread that is no daemon would keep an ordinary interpreter alive."""
    threading.Thread(target=threading.Event().wait).start()
    sys.exit(4)


def in_thread(event, context):
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    return 'alive'


def later(event, context):
    """Dies between two calls."""
    threading.Timer(0.05, os._exit, (5,)).start()
    return 'soon'


def pid(event, context):
    return str(os.getpid())
