# Shows the whole context, as the manual prints it.
import json


def my_handler(event, context):
    return json.dumps({
        'request_id': context.request_id,
        'credentials': [context.credentials.access_key_id, context.credentials.access_key_secret,
                        context.credentials.security_token],
        'function': [context.function.name, context.function.handler, context.function.memory,
                     context.function.timeout],
        'service': [context.service.name, context.service.log_project, context.service.log_store,
                    context.service.qualifier, context.service.version_id],
        'region': context.region,
        'account_id': context.account_id,
    })
