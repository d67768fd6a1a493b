import ctypes
import os
import subprocess
import sys


def handler(event, context):
    """Loads a library by its bare name, which needs another one, and says what it answers."""
    name = event if isinstance(event, str) else event.decode('ascii')
    return ctypes.CDLL(name).answer()


def by_a_program(event, context):
    name = event if isinstance(event, str) else event.decode('ascii')
    program = 'import ctypes, sys; sys.stdout.write(str(ctypes.CDLL("%s").answer()))' % name
    return subprocess.check_output([sys.executable, '-S', '-c', program])


def preloaded(event, context):
    return ctypes.CDLL(None).answer()


def seed(event, context):
    return [os.environ.get('PYTHONHASHSEED'), hash('text'), os.getpid()]
