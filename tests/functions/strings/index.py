# -*- coding: utf-8 -*-
"""Strings that no encoding has, on every way out of the function."""
import sys

PY2 = sys.version_info[0] == 2
GBK = u'\u4f60\u597d'.encode('gbk')
LONE = u'\ud800'
HEADERS = {
    'gbk': GBK,
    'utf8': u'\u4f60\u597d'.encode('utf-8'),
    'text': u'\u4f60\u597d',
    'latin1': u'caf\xe9',
    'escaped': GBK.decode('ascii', 'ignore' if PY2 else 'surrogateescape'),
    'lone': LONE,
    'number': 5,
    'newline': 'a\r\nInjected: yes',
    'huge': 'x' * (200 * 1024),
}


class Text(type(u'')):
    """Text whose methods do not keep their promises."""

    def encode(self, *arguments):
        raise ValueError('no encoding')

    def replace(self, *arguments):
        return None


class Bytes(bytes):
    def __len__(self):
        return -1

    def __bytes__(self):
        raise ValueError('no bytes')


class Unspeakable(Exception):
    def __str__(self):
        raise KeyError('no text')

    __repr__ = __str__


class Old:
    """No exception, but Python 2 raises it."""


class Speaks(Exception):
    def __init__(self, text):
        Exception.__init__(self)
        self.text = text

    def __str__(self):
        return self.text


def web(environ, start_response):
    name = environ['QUERY_STRING']
    start_response('200 OK', [('X-Text', HEADERS[name])])
    return [b'served']


def web_name(environ, start_response):
    start_response('200 OK', [(environ['QUERY_STRING'] + ' \xff', 'x')])
    return [b'served']


def web_status(environ, start_response):
    start_response({'huge': '9' * 5000, 'word': 'fine', 'gbk': GBK, 'int': 204}[environ['QUERY_STRING']], [])
    return [b'served']


def web_echo(environ, start_response):
    names = ('PATH_INFO', 'QUERY_STRING', 'HTTP_X_TEXT', 'fc.request_uri')
    found = [environ[name] for name in names]
    start_response('200 OK', [])
    return [b'\n'.join(text if PY2 else text.encode('latin-1') for text in found)]


RAISES = {
    'gbk': lambda: Exception(GBK),
    'lone': lambda: Exception(LONE),
    'speaks': lambda: Speaks(LONE),
    'speaks_text': lambda: Speaks(Text(u'held')),
    'speaks_number': lambda: Speaks(5),
    'unspeakable': lambda: Unspeakable(),
    'in_unspeakable': lambda: Exception(Unspeakable()),
    'huge': lambda: Exception(u'\u4f60' * (12 * 1024 * 1024)),
    'megabyte': lambda: Exception('x' * (1024 * 1024)),
    'old': lambda: Old(),
    'named': lambda: type('B\xe4d', (Exception,), {})('class'),
    'syntax': lambda: SyntaxError('text', (1, 'a', [], GBK)),
}


def raises(event, context):
    raise RAISES[event if PY2 else event.decode('utf-8')]()


def cyclic():
    found = []
    found.append(found)
    return found


RESULTS = {
    'lone': lambda: LONE,
    'lone_inside': lambda: {'a': LONE, LONE: 1},
    'gbk_inside': lambda: {'a': GBK},
    'gbk_key': lambda: {GBK: 1},
    'cyclic': cyclic,
    'text': lambda: Text(u'\u4f60'),
    'bytes': lambda: Bytes(b'raw'),
    'unspeakable': lambda: {'a': Unspeakable()},
    'nan': lambda: float('nan'),
}


def returns(event, context):
    return RESULTS[event if PY2 else event.decode('utf-8')]()


def logs(event, context):
    import logging
    log = logging.getLogger()
    log.info(u'\u4f60\u597d')
    log.info(GBK if PY2 else 'plain %s', *(() if PY2 else (GBK,)))
    log.info(LONE)
    log.info(u'escaped \udcff')
    try:
        raise Exception(GBK)
    except Exception:
        log.exception(u'\u4f60')
    log.info('last')
    return 'done'


def exits(event, context):
    sys.exit(Unspeakable())


def exits_with_text(event, context):
    sys.exit(u'\u4f60 \ud800')


def closes_its_output(event, context):
    import os
    os.close(1)
    os.close(2)
    raise Exception('unseen')
