# -*- coding: utf-8 -*-
"""Prepares a value once per instance, and uses it in every call.

Deployed by `sesame demo` with the initializer main.my_initializer.
"""

prepared = []


def my_initializer(context):
    prepared.append("prepared once for %s" % context.function.name)


def my_handler(event, context):
    prepared.append("called")
    return "%s, called %d times since" % (prepared[0], len(prepared) - 1)
