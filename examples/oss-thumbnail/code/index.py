"""Scales a grey image (PGM) down, and puts it beside the original: in/cat.pgm gives out/cat.pgm.

The format is plain text, so that the example needs no library for images.
"""

import json
import os

import oss2


def handler(event, context):
    for each in json.loads(event)["events"]:
        bucket = bucket_of(each["oss"]["bucket"]["name"], context)
        key = each["oss"]["object"]["key"]
        small = scaled(bucket.get_object(key).read().decode(), int(os.environ["SIZE"]))
        bucket.put_object("out/" + key[len("in/") :], small)
    return "done"


def bucket_of(name, context):
    """With the temporary keys of the service's role."""
    keys = context.credentials
    auth = oss2.StsAuth(keys.access_key_id, keys.access_key_secret, keys.security_token)
    endpoint = os.environ.get("OSS_ENDPOINT") or "http://oss-{}-internal.aliyuncs.com".format(context.region)
    return oss2.Bucket(auth, endpoint, name)


def scaled(image, factor):
    """Each pixel is the mean of a square of factor by factor pixels."""
    kind, width, height, most, *pixels = image.split()
    assert kind == "P2", "expected a plain PGM, found " + kind
    width, height, pixels = int(width), int(height), list(map(int, pixels))
    rows = [pixels[row * width : (row + 1) * width] for row in range(height)]
    small = [
        [
            sum(sum(row[x : x + factor]) for row in rows[y : y + factor]) // factor**2
            for x in range(0, width - factor + 1, factor)
        ]
        for y in range(0, height - factor + 1, factor)
    ]
    lines = [" ".join(map(str, row)) for row in small]
    return "\n".join(["P2", "{} {}".format(len(small[0]), len(small)), most, *lines]) + "\n"
