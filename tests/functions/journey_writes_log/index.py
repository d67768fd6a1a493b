# Writes a log with the credentials of its context, by the official client under a name of the cloud.
import time

from aliyun.log import LogClient, LogItem, PutLogsRequest


def my_handler(event, context):
    key = context.credentials
    client = LogClient(
        "%s.log.aliyuncs.com" % context.region,
        key.access_key_id,
        key.access_key_secret,
        key.security_token,
        source="192.0.2.2",
    )
    item = LogItem(int(time.time()), contents=[("message", "written by %s" % context.request_id)])
    client.put_logs(PutLogsRequest(context.service.log_project, context.service.log_store, "own", "", [item]))
    return b"written"
