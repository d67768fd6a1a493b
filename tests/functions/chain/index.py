# The functions of chains of events: one bucket, a folder for each step.
import json
import os


def copies(event, context):
    """Puts another object for the one that an event names; its event calls `flaky`."""
    (each,) = json.loads(event)["events"]
    name, key = each["oss"]["bucket"]["name"], each["oss"]["object"]["key"]
    bucket = bucket_of(context, name)
    bucket.put_object("out/" + key.rpartition("/")[2], bucket.get_object(key).read() + b", copied")


def flaky(event, context):
    """Fails twice, then succeeds."""
    if context.retry_count < 2:
        raise RuntimeError("attempt %d" % context.retry_count)
    (each,) = json.loads(event)["events"]
    return {"key": each["oss"]["object"]["key"], "retries": context.retry_count}


def records(event, context):
    """Keeps the record of how `flaky` ended, under the name of the object that it was called for."""
    (each,) = json.loads(json.loads(event)["requestPayload"])["events"]
    name = each["oss"]["object"]["key"].rpartition("/")[2]
    bucket_of(context, "chain").put_object("done/" + name, event)


def loops(event, context):
    """Puts an object whose event calls this function again."""
    (each,) = json.loads(event)["events"]
    key = each["oss"]["object"]["key"]
    bucket_of(context, each["oss"]["bucket"]["name"]).put_object(key + "+", b"")


def bucket_of(context, name):
    import oss2  # `flaky` does without it

    creds = context.credentials
    auth = oss2.StsAuth(creds.access_key_id, creds.access_key_secret, creds.security_token)
    return oss2.Bucket(auth, os.environ["OSS_ENDPOINT"], name)
