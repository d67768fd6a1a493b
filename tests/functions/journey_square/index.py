# Answers with the square of a number and with the process that computed it; takes a moment, so that it can be killed.
import json
import os
import time


def my_handler(event, context):
    asked = json.loads(event.decode('utf-8'))
    time.sleep(asked['pause_s'])
    return json.dumps({'function': context.function.name, 'square': asked['number'] ** 2, 'pid': os.getpid()})
