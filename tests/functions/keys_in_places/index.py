import json
import os


def handler(event, context):
    names = 'accessKeyID', 'ALIBABA_CLOUD_ACCESS_KEY_ID'
    return json.dumps([context.credentials.access_key_id] + [os.environ.get(name) for name in names])
