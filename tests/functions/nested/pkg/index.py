from . import beside


def handler(event, context):
    return beside.VALUE
