# -*- coding: utf-8 -*-


def echo(event, context):
    return event


def kind(event, context):
    return '%s %d' % (type(event).__name__, len(event))


def literal(event, context):
    return u'你好'
