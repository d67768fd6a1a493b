# Writes by every way there is, then returns.
import logging
import os
import sys


def my_handler(event, context):
    print('printed to stdout')
    sys.stderr.write('written to stderr\n')
    logging.getLogger().info('logged as %s', 'info')
    os.system('echo said by a child')
    return 'done'
