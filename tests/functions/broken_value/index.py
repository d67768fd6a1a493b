import os


def broken():
    raise ValueError('cannot start')


if not os.environ.get('REPAIRED'):
    os.environ['REPAIRED'] = 'the second load succeeds'
    broken()


def handler(event, context):
    return 'repaired'
