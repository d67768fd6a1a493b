# -*- coding: utf-8 -*-
"""Uploads a message to OSS but omits the security token.

Deployed by `sesame demo` to show that OSS refuses the request.
A temporary key is not valid without its token.
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
