# -*- coding: utf-8 -*-
"""As published functions ask who they are: by the official SDK, over HTTPS, which brings certificates of its own."""

import json

from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest


def my_handler(event, context):
    creds = context.credentials
    held = StsTokenCredential(creds.access_key_id, creds.access_key_secret, creds.security_token)
    client = AcsClient(region_id=context.region, credential=held)
    domain = 'sts.%s.aliyuncs.com' % context.region
    request = CommonRequest(domain=domain, version='2015-04-01', action_name='GetCallerIdentity')
    request.set_protocol_type('https')
    request.set_accept_format('json')
    return json.loads(client.do_action_with_exception(request))['Arn']
