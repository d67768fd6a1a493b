# -*- coding: utf-8 -*-
import json


class Custom(Exception):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise ValueError('no text')


class NotAnException(BaseException):
    pass


def handler(event, context):
    return inner(json.loads(event))


def inner(evt):
    return evt['key']


def custom(event, context):
    raise Custom('it broke, badly')


def unprintable(event, context):
    raise Unprintable()


def text(event, context):
    raise Custom(u'\u4f60\u597d')


def raw(event, context):
    raise Custom(b'\xff\xfe')


def deep(event, context):
    return deep(event, context)


def base(event, context):
    raise NotAnException('dead')


def names_its_file(event, context):
    raise Custom(__file__)


not_callable = 5


def asks_a_debugger(event, context):
    import pdb
    pdb.set_trace()
    return 'went on'


def chained(event, context):
    try:
        return {}['key']
    except KeyError:
        raise ValueError('no number')
