# -*- coding: utf-8 -*-
"""The upload with the security token forgotten.

Deployed by `sesame demo`, which shows that OSS refuses it.
Never succeeds: a temporary key is nothing without its token.
"""

import json
import oss2


def my_handler(event, context):
    evt = json.loads(event)
    creds = context.credentials
    auth = oss2.Auth(creds.access_key_id, creds.access_key_secret)
    bucket = oss2.Bucket(auth, evt['endpoint'], evt['bucket'])
    bucket.put_object(evt['objectName'], evt['message'])
    return 'success'
