import json
import os


def run(event, context):
    """Evaluates an expression, in which `write(path, text)` and `read(path)` are there too."""
    return json.dumps(eval(event.decode('utf-8'), {'os': os, 'read': read, 'write': write, 'failure': failure}))


def write(path, text):
    with open(path, 'w') as file:
        file.write(text)
    return True


def read(path):
    with open(path) as file:
        return file.read()


def failure(call, *arguments):
    """The name of the error that the call ends with."""
    import errno
    try:
        call(*arguments)
    except (OSError, IOError) as error:
        return errno.errorcode[error.errno]
