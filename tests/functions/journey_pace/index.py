# Says in which instance and how often it ran; starts and goes on as slowly as it is told to.
import json
import os
import subprocess
import time

STATE = {'counter': 0, 'code': 'old'}


def my_initializer(context):
    time.sleep(float(os.environ.get('INITIALIZE_S', '0')))
    STATE['counter'] += 1


def my_handler(event, context):
    time.sleep(float(event or 0))
    STATE['counter'] += 1
    return json.dumps(STATE)


def counter(event, context):
    STATE['counter'] += 1
    return STATE['counter']


def leaves_children(event, context):
    """One child in the process group, one in a session of its own; then it hangs."""
    mark = event.decode('utf-8')
    subprocess.Popen(['/bin/sh', '-c', 'sleep 600; : ' + mark])
    subprocess.Popen(['setsid', '/bin/sh', '-c', 'sleep 600; : ' + mark])
    print('children are up')
    time.sleep(600)
