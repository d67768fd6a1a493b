# -*- coding: utf-8 -*-
"""What ordinary functions do with the standard library, each in a few lines."""
from __future__ import print_function

import ctypes
import inspect
import logging
import logging.config
import multiprocessing
import os
import pickle
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

PY2 = sys.version_info[0] == 2


def square(number):
    return number * number


def put(queue):
    queue.put('from a child')


class Data(object):
    text = u'值'


def programs(event, context):
    out = subprocess.check_output('python -c "import sys; print(sys.version_info[0])"', shell=True)
    echo = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return [int(out), echo.communicate(b'hello')[0].decode('ascii'), subprocess.call(['false'])]


def processes(event, context):
    pool = multiprocessing.Pool(2)
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=put, args=(queue,))
    child.start()
    found = [pool.map(square, range(4)), queue.get(timeout=10)]
    child.join()
    with multiprocessing.Lock():
        return found + [child.exitcode]


def threads(event, context):
    found = []
    made = [threading.Thread(target=found.append, args=(number,)) for number in range(20)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    return [sorted(found) == list(range(20)), threading.current_thread().name]


def logs(event, context):
    logging.config.dictConfig({
        'version': 1,
        'formatters': {'short': {'format': '%(levelname)s|%(message)s'}},
        'handlers': {'out': {'class': 'logging.StreamHandler', 'formatter': 'short', 'stream': 'ext://sys.stdout'}},
        'root': {'level': 'DEBUG', 'handlers': ['out']},
    })
    logging.getLogger().debug(u'配置 %d', 5)


def pickles(event, context):
    copy = pickle.loads(pickle.dumps(context, 2))
    return [pickle.loads(pickle.dumps(Data(), 2)).text, copy.request_id == context.request_id]


def signals(event, context):
    found = []
    signal.signal(signal.SIGALRM, lambda number, frame: found.append(int(number)))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    while not found:
        time.sleep(0.01)
    return [
        found == [signal.SIGALRM],
        signal.getsignal(signal.SIGINT) == signal.default_int_handler,
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,
    ]


def files(event, context):
    with tempfile.NamedTemporaryFile(suffix=u'.数据') as file:
        file.write(b'x' * 1000)
        file.flush()
        size = os.path.getsize(file.name)
    with open('/dev/stdin') as empty:
        return [size, os.path.exists(file.name), empty.read(), sys.stdin.read(), sys.stdout.isatty()]


def locales(event, context):
    import locale
    locale.setlocale(locale.LC_ALL, '')
    return [locale.getpreferredencoding(), sys.getfilesystemencoding().lower(), sys.getdefaultencoding()]


def clocks(event, context):
    os.environ['TZ'] = 'Asia/Shanghai'
    time.tzset()
    hour = time.localtime(0).tm_hour
    os.environ['TZ'] = 'UTC'
    time.tzset()
    return [hour, time.localtime(0).tm_hour]


def databases(event, context):
    database = sqlite3.connect(os.path.join(tempfile.mkdtemp(), 'x.db'))
    database.execute('create table t(a text)')
    database.execute('insert into t values (?)', (u'数据',))
    return database.execute('select a from t').fetchone()[0]


def secure(event, context):
    made = ssl.create_default_context()
    return [made.verify_mode == ssl.CERT_REQUIRED, bool(made.get_ca_certs() or ssl.get_default_verify_paths().capath)]


def libraries(event, context):
    return ctypes.CDLL(None).getpid() == os.getpid()


def looks(event, context):
    import __main__
    return [
        os.path.basename(__file__), __name__, hasattr(__main__, '__file__'), sys.argv,
        inspect.getsource(square).splitlines()[0], inspect.stack()[0][3], os.environ['PWD'],
    ]


def generators(event, context):
    def numbers():
        yield 1
        yield u'二'

    return list(numbers())


def big(event, context):
    for number in range(1000):
        print('line %d' % number)
    return 'y' * (5 * 1024 * 1024)
