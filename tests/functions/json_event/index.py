# -*- coding: utf-8 -*-
import json


def handler(event, context):
    evt = json.loads(event)
    return evt['key']
