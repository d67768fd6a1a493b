# -*- coding: utf-8 -*-
"""Prepares something once in an instance's life, and uses it in every call.

Deployed by `sesame demo` with the initializer main.my_initializer.
Never prepares anything in the handler.
"""

prepared = []


def my_initializer(context):
    prepared.append("prepared once for %s" % context.function.name)


def my_handler(event, context):
    prepared.append("called")
    return "%s, called %d times since" % (prepared[0], len(prepared) - 1)
