# Tells a ledger outside of Sesame when it begins and ends, and goes on only when the ledger has taken it down.
import json
import socket
import time
import uuid

INSTANCE = uuid.uuid4().hex


def my_handler(event, context):
    asked = json.loads(event.decode('utf-8'))
    tell(asked, 'began', context)
    time.sleep(asked['pause_s'])
    if asked['fails']:
        tell(asked, 'failed', context)
        raise ValueError('asked to fail')
    tell(asked, 'ended', context)
    return asked['id']


def my_call(event, context):
    """Says also in which instance and on which machine."""
    asked = json.loads(event.decode('utf-8'))
    where = INSTANCE + ' ' + socket.gethostname()
    tell(asked, 'began', context, condition=where)
    time.sleep(asked['pause_s'])
    tell(asked, 'ended', context, condition=where)
    return socket.gethostname()


def my_destination(event, context):
    record = json.loads(event.decode('utf-8'))
    asked = record['requestPayload']
    asked = asked if isinstance(asked, dict) else json.loads(asked)
    tell(asked, 'arrived', context, condition=record['requestContext']['condition'])


def tell(asked, what, context, condition=''):
    line = json.dumps({'id': asked['id'], 'what': what, 'retry': int(context.retry_count), 'condition': condition})
    connection = socket.create_connection((asked.get('at', '127.0.0.1'), asked['ledger']), 10)
    try:
        connection.sendall(line.encode('utf-8') + b'\n')
        if connection.recv(1) != b'+':
            raise IOError('the ledger did not answer')
    finally:
        connection.close()
