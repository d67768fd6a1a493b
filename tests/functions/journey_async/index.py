# Called asynchronously: answers with what it was given, fails or sleeps as the event says.
import json
import time


def my_handler(event, context):
    wanted = json.loads(event)
    time.sleep(wanted.get('sleep', 0))
    if context.retry_count < wanted.get('failures', 0):
        raise ValueError('attempt %d' % context.retry_count)
    return json.dumps({'request_id': context.request_id, 'retry_count': context.retry_count, 'event': wanted})
