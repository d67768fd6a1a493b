# -*- coding: utf-8 -*-
import logging


def handler(event, context):
    logging.getLogger().info('hello %s', 'world')
    logging.getLogger('some.name').warning(u'\u4f60\u597d')
    logging.debug('not shown')
    logging.basicConfig(level=logging.DEBUG)
    try:
        raise KeyError('inside')
    except KeyError:
        logging.exception('caught')


def large(event, context):
    logging.info('z' * (200 * 1024))
    logging.info('next')
