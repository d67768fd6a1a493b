# Prints the context by the members that the manual's classes have, with the names of their classes.
import json


def my_handler(event, context):
    shown = {
        'FCContext': type(context).__name__,
        'request_id': context.request_id,
        'region': context.region,
        'account_id': context.account_id,
    }
    for name, members in (
        ('credentials', ('access_key_id', 'access_key_secret', 'security_token')),
        ('function', ('name', 'handler', 'memory', 'timeout', 'initializer', 'initialization_timeout')),
        ('service', ('name', 'log_project', 'log_store', 'qualifier', 'version_id')),
    ):
        part = getattr(context, name)
        shown[name] = dict((member, getattr(part, member)) for member in members)
        shown[name]['class'] = type(part).__name__
    print(json.dumps(shown, sort_keys=True))
    return shown


def my_initializer(context):
    pass
