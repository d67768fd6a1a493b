# Invokes itself asynchronously, with the credentials of its context, whenever it is called.
import json

import fc2


def my_handler(event, context):
    keys = context.credentials
    client = fc2.Client(
        endpoint=json.loads(event)['endpoint'], accessKeyID=keys.access_key_id, accessKeySecret=keys.access_key_secret,
        securityToken=keys.security_token,
    )
    headers = {'x-fc-invocation-type': 'Async', 'x-fc-stateful-async-invocation-enable': 'true'}
    client.invoke_function(context.service.name, context.function.name, payload=event, headers=headers)
    return 'again'
