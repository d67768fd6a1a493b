# -*- coding: utf-8 -*-
"""As published functions hand out credentials: narrower than their own, for a browser or a device."""

import json

import oss2
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest


def my_handler(event, context):
    told = json.loads(event)
    creds = context.credentials
    held = StsTokenCredential(creds.access_key_id, creds.access_key_secret, creds.security_token)
    client = AcsClient(region_id=context.region, credential=held)
    domain = 'sts.%s.aliyuncs.com' % context.region
    request = CommonRequest(domain=domain, version='2015-04-01', action_name='AssumeRole')
    request.set_protocol_type(told['scheme'])
    request.set_accept_format('json')
    request.add_query_param('RoleArn', told['role'])
    request.add_query_param('RoleSessionName', 'browser')
    given = json.loads(client.do_action_with_exception(request))['Credentials']
    auth = oss2.StsAuth(given['AccessKeyId'], given['AccessKeySecret'], given['SecurityToken'])
    bucket = oss2.Bucket(auth, 'oss-%s-internal.aliyuncs.com' % context.region, told['bucket'])
    try:
        bucket.put_object('refused', '')
    except oss2.exceptions.AccessDenied:
        return bucket.get_object(told['key']).read()
    return 'the new credentials may write'
