"""Publishes a folder as the next version of a layer, and prints its ARN: `python publish_layer.py salutations layer`.

Address and keys are those of `eval "$(sesame env)"`. The signature is that of the official SDK, which has no operation for
layers in this version of the API.
"""

import base64
import io
import json
import os
import sys
import urllib.request
import zipfile
from email.utils import formatdate
from pathlib import Path

from fc2.auth import Auth


def publish(name, folder, environ=os.environ):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(Path(folder).rglob("*.py")):
            archive.write(path, path.relative_to(folder).as_posix())
    document = {
        "description": "from " + Path(folder).name,
        "compatibleRuntime": ["python3.12", "python3.10", "python3.9", "python3"],
        "code": {"zipFile": base64.b64encode(packed.getvalue()).decode()},
    }
    path = "/2016-08-15/layers/{}/versions".format(name)
    headers = {"content-type": "application/json", "date": formatdate(usegmt=True), "host": "sesame"}
    headers["authorization"] = Auth(environ["ACCESS_KEY_ID"], environ["ACCESS_KEY_SECRET"], "").sign_request(
        "POST", path, headers
    )
    request = urllib.request.Request(environ["FC_ENDPOINT"] + path, json.dumps(document).encode(), headers)
    # The server is on this machine: a proxy named in the environment must not be used.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)["arn"]


if __name__ == "__main__":
    print(publish(sys.argv[1], sys.argv[2]))
