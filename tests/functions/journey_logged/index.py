# Prints a line and names where its context says that lines go.
import json


def my_handler(event, context):
    print("said by %s" % context.request_id)
    return json.dumps({"project": context.service.log_project, "logstore": context.service.log_store})
