# -*- coding: utf-8 -*-
from __future__ import print_function

import os
import subprocess
import sys

LINE = 'x' * 1023


def order(event, context):
    print('one')
    print('two', file=sys.stderr)
    sys.stdout.write('three without newline ')
    sys.stderr.write('four\n')
    print('five')


def megabyte(event, context):
    for _ in range(1024):
        print(LINE)
    return 'done'


def child(event, context):
    print('before')
    subprocess.check_call(['/bin/sh', '-c', 'echo from the child; echo its stderr >&2'])
    os.system('echo from system')
    print('after')
    return 'done'


def unfinished(event, context):
    sys.stdout.write('no newline at the end')
    return 'done'


def huge(event, context):
    sys.stdout.write('y' * (200 * 1024) + '\n')
    print('next')


def huge_text(event, context):
    sys.stdout.write(u'\u4f60' * 50000 + u'\n')
    print('next')


def text(event, context):
    print(u'\u4f60\u597d')
    sys.stdout.write('bytes or text\n')


def rewrapped(event, context):
    """An idiom for Python 3 that closes the buffer when it is repeated."""
    import io
    if hasattr(sys.stdout, 'buffer'):
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')
    print('still here')


def closed(event, context):
    sys.stdout.close()
    return 'done'


def from_c(event, context):
    import ctypes
    ctypes.CDLL(None).printf(b'from C\n')
    return 'done'
