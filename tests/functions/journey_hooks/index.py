"""Counts its own hooks; each line that they print is in the log."""

import json

SEEN = []


def my_handler(event, context):
    SEEN.append("call")
    return json.dumps(SEEN)


def pre_freeze(context):
    SEEN.append("freeze")
    print("about to freeze %s for %s" % (context.function.name, context.request_id))


def pre_stop(context):
    print("about to stop after %s" % ",".join(SEEN))
