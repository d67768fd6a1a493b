"""Makes debugpy listen inside an instance, before any of the function's code is loaded (docs/debug.md).

Called by bootstrap.py for requests to an instance that is being debugged. debugpy is in a layer that only such an
instance has, and is imported only then.
"""

import json
import os
import sys

# On the instance's own loopback; the host reaches it through a command in the instance (debug_relay.py).
_HOST = "127.0.0.1"


def listen(code_dir):
    """Starts the debugger. Returns as JSON what the host needs to connect to it."""
    import pdb

    # Frozen modules cannot be debugged, but none of them is the function's.
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    import debugpy

    # Programs started by the function are not debugged: they would wait for debuggers of their own.
    debugpy.configure(subProcess=False)
    _host, port = debugpy.listen((_HOST, 0))
    del os.environ["PYDEVD_DISABLE_FILE_VALIDATION"]
    # debugpy has already replaced `breakpoint()`.
    pdb.set_trace = debugpy.breakpoint
    folder = os.path.dirname(os.path.abspath(__file__))
    found = {
        "port": port,
        "python": sys.executable,
        "relay": os.path.join(folder, "debug_relay.py"),
        "code": code_dir,
    }
    return json.dumps(found).encode("utf-8")


def wait_for_client():
    """Returns once a debugger is attached and has set its breakpoints."""
    import debugpy

    debugpy.wait_for_client()
