CALLS = []


def handler(event, context):
    CALLS.append(context.request_id)
    return CALLS
