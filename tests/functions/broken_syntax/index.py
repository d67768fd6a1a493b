def fine():
    return 1


def handler(event, context):
    return )
