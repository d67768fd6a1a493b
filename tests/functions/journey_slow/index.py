# Takes as many seconds as the event says.
import time


def my_handler(event, context):
    time.sleep(float(event))
    return 'woke up'
