# -*- coding: utf-8 -*-
"""Runs a program of a layer as a function would: the handler of a function, called by `cli.layer_programs`.

Runs under the function's interpreter, in its sandbox. The event is JSON: the program's name and its arguments.
"""

import json
import os
import signal
import subprocess
import threading

TIME_S = 20.0
OUTPUT_BYTES_MAX = 64 * 1024


def handler(event, context):
    """Returns JSON: {"missing": [library], "error", "status", "output"}; status -1 if the program did not start."""
    words = json.loads(event.decode("utf-8"))
    # With this variable the loader lists what the program would load, instead of running it.
    _status, traced, error = run(words[:1], dict(os.environ, LD_TRACE_LOADED_OBJECTS="1"))
    missing = [line.split()[0] for line in traced.splitlines() if "not found" in line]
    status, output = -1, ""
    if not missing and not error:
        status, output, error = run(words, os.environ)
    return json.dumps({"missing": missing, "error": error, "status": status, "output": output})


def run(words, environment):
    """Returns (status, output, error). The output is truncated, and a program that does not end in time is killed."""
    with open(os.devnull, "rb") as nothing:
        try:
            process = subprocess.Popen(
                words, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                preexec_fn=os.setsid,
            )
        except OSError as error:
            return -1, "", str(error)
    # Programs that it has started may keep its output open, so kill the whole session.
    timer = threading.Timer(TIME_S, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    output = process.stdout.read(OUTPUT_BYTES_MAX)
    # A program that writes more is ended by the closed pipe.
    process.stdout.close()
    status = process.wait()
    timer.cancel()
    return status, output.decode("utf-8", "replace"), ""
