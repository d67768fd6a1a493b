"""A function that uses the layer."""

import json

from salutations import salutation


def handler(event, context):
    return salutation(**json.loads(event))
