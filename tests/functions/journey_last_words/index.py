# Writes right before it returns, on every way out; its child too, when it is asked to have one.
import subprocess
import sys


def my_handler(event, context):
    mark, who = event.decode('utf-8').split()
    if who == 'child':
        subprocess.check_call(['/bin/sh', '-c', 'echo child "$0"', mark])
    sys.stdout.write('stdout %s\n' % mark)
    sys.stderr.write('stderr %s\n' % mark)
    return mark
