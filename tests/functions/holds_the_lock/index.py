import ctypes
import re
import sys
import threading
import time


def handler(event, context):
    print('going to sleep')
    return search('a' * 64 + '!')


def search(text):
    return re.match('(a+)+$', text)


def with_threads(event, context):
    thread = threading.Thread(target=time.sleep, args=(600,))
    thread.daemon = True
    thread.start()
    print('going to sleep')
    return search('a' * 64 + '!')


def in_c(event, context):
    print('going to sleep')
    return sleeps()


def sleeps():
    """Never looks for signals and never gives the interpreter's lock back."""
    if sys.version_info[0] == 2:
        return sum(xrange(10 ** 12))  # noqa: F821
    return ctypes.PyDLL(None).sleep(600)
