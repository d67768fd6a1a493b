import json
import pickle


def handler(event, context):
    """What a function without a service finds in its context; members that are not there are null."""
    copied = pickle.loads(pickle.dumps(context))
    service = getattr(context, 'service', None)
    keys = getattr(context, 'credentials', None)
    return json.dumps({
        'class': [type(context).__name__, type(context.function).__name__],
        'same': copied.request_id == context.request_id,
        'credentials': keys and keys.access_key_id,
        'function': sorted(context.function.__dict__),
        'service': service and sorted(service.__dict__),
        'logs': [getattr(context, 'log_project', None), getattr(context, 'log_store', None)],
        'qualifier': getattr(service or context.function, 'qualifier'),
        'plain': context.to_json()['function']['name'],
        'logger': context.logger.name,
    })
