# Gives its temporary keys away, as no function should.
import json


def my_handler(event, context):
    keys = context.credentials
    return json.dumps([keys.access_key_id, keys.access_key_secret, keys.security_token])
