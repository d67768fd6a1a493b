# -*- coding: utf-8 -*-
"""The simplest handler: whatever it is called with, it answers the same.

Deployed by `sesame demo`; `sesame invoke main.my_handler` in this directory runs it too.
Never looks at its event or its context.
"""


def my_handler(event, context):
    return "hello world"
