# -*- coding: utf-8 -*-
import json
import logging

import oss2

logger = logging.getLogger()


def my_handler(event, context):
    evt = json.loads(event)
    creds = context.credentials
    auth = oss2.StsAuth(creds.access_key_id, creds.access_key_secret, creds.security_token)
    endpoint = evt['scheme'] + 'oss-%s-internal.aliyuncs.com' % context.region
    bucket = oss2.Bucket(auth, endpoint, evt['bucket'])
    bucket.put_object('greetings/' + context.request_id, evt['message'])
    logger.info('wrote to %s', endpoint)
    return bucket.get_object('greetings/' + context.request_id).read()
