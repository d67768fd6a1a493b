"""The gross price of a net price. RATE may change: the canary shows it to a part of the callers first."""

import json
import os


def handler(event, context):
    net = json.loads(event)["net"]
    return json.dumps({"gross": round(net * (1 + float(os.environ["RATE"])), 2), "version": context.service.version_id})
