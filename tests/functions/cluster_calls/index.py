# Tells a ledger outside of Sesame when a call begins and ends, in which instance and on which machine.
import json
import socket
import time
import uuid

INSTANCE = uuid.uuid4().hex


def my_handler(event, context):
    asked = json.loads(event.decode('utf-8'))
    tell(asked, 'began')
    time.sleep(asked['pause_s'])
    tell(asked, 'ended')
    return socket.gethostname()


def tell(asked, what):
    condition = INSTANCE + ' ' + socket.gethostname()
    line = json.dumps({'id': asked['id'], 'what': what, 'retry': 0, 'condition': condition})
    connection = socket.create_connection((asked['at'], asked['ledger']), 10)
    try:
        connection.sendall(line.encode('utf-8') + b'\n')
        if connection.recv(1) != b'+':
            raise IOError('the ledger did not answer')
    finally:
        connection.close()
