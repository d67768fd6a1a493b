# -*- coding: utf-8 -*-
"""Prints every member of the context, including credentials, function and service, and returns the request id.

Deployed by `sesame demo`; its output is returned in the tail of the log.
"""


def my_handler(event, context):
    show("context", context)
    return context.request_id


def show(name, value):
    if hasattr(value, "__dict__"):
        for member in sorted(vars(value)):
            if not member.startswith("_"):
                show(name + "." + member, getattr(value, member))
    else:
        print("%s = %r" % (name, value))
