# The manual's JSON event: gives one key of it back.
import json


def my_handler(event, context):
    evt = json.loads(event.decode('utf-8'))
    return evt['key']
