# -*- coding: utf-8 -*-
"""An event function: takes bytes, returns text."""
import json
import logging

log = logging.getLogger()


def handler(event, context):
    """event: {"name": "Ada"}; gives {"greeting": "Hello Ada"}."""
    order = json.loads(event)
    log.info("greeting %s in request %s", order["name"], context.request_id)
    return json.dumps({"greeting": "Hello " + order["name"]})
