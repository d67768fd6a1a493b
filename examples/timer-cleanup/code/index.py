"""Removes objects that are older than DAYS, once a night. What time it is, the timer's event says."""

import calendar
import json
import os
import time

import oss2


def handler(event, context):
    now = calendar.timegm(time.strptime(json.loads(event)["triggerTime"], "%Y-%m-%dT%H:%M:%SZ"))
    keys = context.credentials
    auth = oss2.StsAuth(keys.access_key_id, keys.access_key_secret, keys.security_token)
    endpoint = os.environ["OSS_ENDPOINT"] or "http://oss-{}-internal.aliyuncs.com".format(context.region)
    bucket = oss2.Bucket(auth, endpoint, os.environ["BUCKET"])
    oldest = now - int(os.environ["DAYS"]) * 24 * 3600
    old = [each.key for each in oss2.ObjectIterator(bucket) if each.last_modified < oldest]
    for key in old:
        bucket.delete_object(key)
        print("removed", key)
    return json.dumps(old)
