# Counts the calls of one instance, after an initializer that runs once.
import os

counter = {'calls': 0, 'initialized': 0}


def my_initializer(context):
    counter['initialized'] += 1
    if os.environ.get('FAIL'):
        raise ValueError('initializer says no')


def my_handler(event, context):
    counter['calls'] += 1
    return '%d/%d' % (counter['initialized'], counter['calls'])
