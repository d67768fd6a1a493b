# -*- coding: utf-8 -*-
"""Uploads a message to OSS with the temporary credentials of the service's role, like the manual's last example.

Deployed by `sesame demo` to two services: the role of one may write objects, that of the other may not.
It has no key of its own.
"""

import json
import oss2


def my_handler(event, context):
    evt = json.loads(event)
    creds = context.credentials
    # do not forget security_token
    auth = oss2.StsAuth(creds.access_key_id, creds.access_key_secret, creds.security_token)
    bucket = oss2.Bucket(auth, evt['endpoint'], evt['bucket'])
    bucket.put_object(evt['objectName'], evt['message'])
    return 'success'
