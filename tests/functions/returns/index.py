# -*- coding: utf-8 -*-
import datetime
import decimal


class Opaque(object):
    def __repr__(self):
        return '<Opaque>'


class Written(object):
    def to_json(self):
        return {'written': True}


VALUES = {
    'text': 'plain',
    'unicode': u'\u4f60\u597d',
    'bytes': b'\x00\xff raw',
    'none': None,
    'true': True,
    'int': 1,
    'float': 1.5,
    'dict': {'b': 1, 'a': u'\u4f60', 'nested': {'d': [1, 2], 'c': None}},
    'list': [1, 'two', None],
    'empty': '',
    'decimal': {'price': decimal.Decimal('1.25')},
    'date': {'at': datetime.datetime(2020, 1, 2, 3, 4, 5), 'on': datetime.date(2020, 1, 2)},
    'to_json': Written(),
    'opaque': Opaque(),
    'set': {'inside': set([1])},
    'mixed_keys': {1: 1, 'a': 2},
    'bytes_inside': {'raw': b'\xff'},
    'bytearray': bytearray(b'abc'),
    'large': 'x' * (32 * 1024 * 1024 + 1),
    'largest': 'x' * (32 * 1024 * 1024),
}


def handler(event, context):
    return VALUES[event if isinstance(event, str) else event.decode('utf-8')]
