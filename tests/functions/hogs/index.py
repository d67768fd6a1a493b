import os
import subprocess
import sys
import tempfile
import time

HELD = []


def memory(event, context):
    """Takes what it was asked for, in MB, and keeps it for a while."""
    HELD.append(b'x' * (int(event) * 1024 * 1024))
    time.sleep(5)
    return 'kept'


def briefly(event, context):
    return str(len(b'x' * (int(event) * 1024 * 1024)))


def in_child(event, context):
    code = "import time; held = b'x' * (%d * 1024 * 1024); time.sleep(20)" % int(event)
    subprocess.check_call([sys.executable, '-c', code])


def shared(event, context):
    """Children that share their parent's pages: counted once, they are under the limit."""
    HELD.append(b'x' * (int(event) * 1024 * 1024))
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            time.sleep(1)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return 'shared'


def disk(event, context):
    directory = tempfile.gettempdir()
    for number in range(int(event)):
        with open(os.path.join(directory, 'part%d' % number), 'wb') as file:
            file.write(b'x' * 1024 * 1024)
    time.sleep(5)
    return 'kept'


def one_file(event, context):
    with open(os.path.join(tempfile.gettempdir(), 'large'), 'wb') as file:
        for _ in range(int(event)):
            file.write(b'x' * 1024 * 1024)
