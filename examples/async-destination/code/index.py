"""Makes a report that nobody waits for; what became of it goes to one of two other functions."""

import json


def make(event, context):
    order = json.loads(event)
    if order["month"] not in range(1, 13):
        raise ValueError("there is no month {}".format(order["month"]))
    return "report of month {}".format(order["month"])


def made(event, context):
    record = json.loads(event)
    print("made:", record["responsePayload"])


def failed(event, context):
    record = json.loads(event)
    print("failed:", record["requestPayload"], "after", record["requestContext"]["approximateInvokeCount"], "attempts")
