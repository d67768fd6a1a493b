# -*- coding: utf-8 -*-
"""Parses its event as JSON and returns one of its values.

Deployed by `sesame demo`; try it with: sesame invoke main.my_handler -e '{"key": "value"}'
It does not check the event: without the key, the caller gets a KeyError.
"""

import json


def my_handler(event, context):
    evt = json.loads(event)
    return evt["key"]
