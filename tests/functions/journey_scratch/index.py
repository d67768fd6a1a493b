# Counts its calls in a temporary file.
import os
import tempfile

PATH = os.path.join(tempfile.gettempdir(), 'calls')


def my_handler(event, context):
    with open(PATH, 'a') as calls:
        calls.write('.')
    return os.path.getsize(PATH)
