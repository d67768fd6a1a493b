# -*- coding: utf-8 -*-
"""The simplest handler: returns the same answer for every event.

Deployed by `sesame demo`; `sesame invoke main.my_handler` in this directory runs it too.
It uses neither its event nor its context.
"""


def my_handler(event, context):
    return "hello world"
