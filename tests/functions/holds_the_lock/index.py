"""Hangs in C code that holds the interpreter's lock, which a program beside it tells when that has begun."""
import ctypes
import re
import subprocess
import sys
import threading
import time


def search(text):
    return re.match('(a+)+$', text)


def handler(event, context):
    tell_soon()
    return search('a' * 64 + '!')


def with_threads(event, context):
    thread = threading.Thread(target=time.sleep, args=(600,))
    thread.daemon = True
    thread.start()
    tell_soon()
    return search('a' * 64 + '!')


def in_c(event, context):
    tell_soon()
    return sleeps()


def sleeps():
    """Never looks for signals and never gives the interpreter's lock back."""
    if sys.version_info[0] == 2:
        return sum(xrange(10 ** 12))  # noqa: F821
    return ctypes.PyDLL(None).sleep(600)


def tell_soon():
    subprocess.Popen(['/bin/sh', '-c', 'sleep 0.3; echo going to sleep'])
