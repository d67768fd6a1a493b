import json


def handler(event, context):
    """Members as the page lists them, read one by one, and what json makes of `__dict__`."""
    return json.dumps({
        'class': [type(context).__name__, type(context.credentials).__name__, type(context.function).__name__,
                  type(context.service).__name__],
        'request_id': context.request_id,
        'credentials': [context.credentials.access_key_id, context.credentials.access_key_secret,
                        context.credentials.security_token],
        'function': [context.function.name, context.function.handler, context.function.memory,
                     context.function.timeout, context.function.initializer,
                     context.function.initialization_timeout],
        'service': [context.service.name, context.service.log_project, context.service.log_store,
                    context.service.qualifier, context.service.version_id],
        'region': context.region,
        'account_id': context.account_id,
        'retry_count': context.retry_count,
        'tracing': [context.tracing.span_context, context.tracing.jaeger_endpoint, context.tracing.span_baggages],
        'aliases': [context.requestId == context.request_id, context.accountId == context.account_id,
                    context.retryCount == context.retry_count,
                    context.credentials.accessKeyId == context.credentials.access_key_id,
                    context.credentials.accessKeySecret == context.credentials.access_key_secret,
                    context.credentials.securityToken == context.credentials.security_token,
                    context.service.logProject == context.service.log_project,
                    context.service.logStore == context.service.log_store,
                    context.service.versionId == context.service.version_id,
                    context.function.initializationTimeout == context.function.initialization_timeout],
        'text': sorted({type(value).__name__ for value in (
            context.request_id, context.region, context.account_id, context.function.name, context.service.name,
            context.credentials.access_key_id)}),
        'to_json': context.to_json(),
        'plain': json.loads(json.dumps(context, default=lambda o: o.__dict__)),
    })


def logs(event, context):
    context.getLogger().info('through getLogger')
    context.logger.warning('through logger')


def whole(event, context):
    return context


def made_by_hand(event, context):
    kind = type(context)
    made = kind('a', 'r', type(context.credentials)('i', 's', 't'),
                type(context.function)('f', 'h', 1, 2, 'n', 3), type(context.service)('s', 'p', 'l', 'q', 'v'), 'g')
    return [made.account_id, made.request_id, made.credentials.security_token, made.function.initialization_timeout,
            made.service.name, made.service.version_id, made.region]
