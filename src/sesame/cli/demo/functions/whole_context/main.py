# -*- coding: utf-8 -*-
"""Prints every member of the context, credentials, function and service included, and returns the request id.

Deployed by `sesame demo`; what it prints comes back in the tail of the log.
Never prints into its answer.
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
