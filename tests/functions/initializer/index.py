STATE = []


def init(context):
    STATE.append(context.request_id)
    return 'ignored'


def broken(context):
    raise RuntimeError('no database')


def handler(event, context):
    return STATE
