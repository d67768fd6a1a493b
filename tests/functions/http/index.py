# -*- coding: utf-8 -*-


def handler(environ, start_response):
    start_response('201 Created', [('Content-Type', 'text/plain'), ('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])
    names = ('REQUEST_METHOD', 'PATH_INFO', 'QUERY_STRING', 'SCRIPT_NAME', 'CONTENT_TYPE', 'CONTENT_LENGTH',
             'SERVER_NAME', 'SERVER_PORT', 'SERVER_PROTOCOL', 'SERVER_SOFTWARE', 'REMOTE_ADDR', 'HTTP', 'HTTP_X_TWICE',
             'HTTP_COOKIE', 'HTTP_X_FC_FUNCTION_HANDLER', 'fc.request_uri', 'wsgi.url_scheme', 'FC_FUNC_CODE_PATH')
    lines = ['%s=%s' % (name, environ[name]) for name in names]
    lines.append('body=%d' % len(environ['wsgi.input'].read()))
    lines.append('context=%s' % environ['fc.context'].request_id)
    return ['\n'.join(lines).encode('utf-8')]


def text(environ, start_response):
    start_response('200 OK', [])
    return [u'你好', b' raw']


def plain_bytes(environ, start_response):
    start_response('200 OK', [])
    return b'as it is'


def writes(environ, start_response):
    write = start_response('200 OK', [])
    write(b'written ')
    return [b'returned']


def wrong(environ, start_response):
    start_response('200 OK', [])
    return [42]


def wrong_whole(environ, start_response):
    start_response('200 OK', [])
    return 42


def silent(environ, start_response):
    return []


def raises(environ, start_response):
    start_response('200 OK', [('X-Gone', 'yes')])
    raise KeyError('http')


class Application(object):
    def __call__(self, environ, start_response):
        start_response('200 OK', [])
        return [environ['REQUEST_METHOD'].encode('utf-8')]


app = Application()
