# -*- coding: utf-8 -*-
"""Uploads a message to OSS with the temporary credentials of the service's role, as the manual's closing example does.

Deployed by `sesame demo`, once into a service whose role may put and once into one whose role may not.
Never holds a key of its own.
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
