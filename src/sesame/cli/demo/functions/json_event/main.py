# -*- coding: utf-8 -*-
"""Takes its event as JSON and answers with one value of it.

Deployed by `sesame demo`; try it with: sesame invoke main.my_handler -e '{"key": "value"}'
Never checks the event: without the key the caller sees a KeyError.
"""

import json


def my_handler(event, context):
    evt = json.loads(event)
    return evt["key"]
