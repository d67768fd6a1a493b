"""Has debugpy listen inside an instance, before any code of the function is loaded (docs/debug.md).

Called by bootstrap.py for the requests of an instance that is to be debugged. debugpy lies in a layer that only such an
instance has, and is imported only then.
"""

import json
import os
import sys

# On the instance's own loopback; the host reaches it through a command in the instance (debug_relay.py).
_HOST = "127.0.0.1"


def listen(code_dir):
    """Starts the debugger, and returns as JSON what the host needs to reach it."""
    import pdb

    # Of the modules that are frozen into the interpreter none is the function's.
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    import debugpy

    # Programs that the function starts are not debugged: they would wait for debuggers of their own.
    debugpy.configure(subProcess=False)
    _host, port = debugpy.listen((_HOST, 0))
    del os.environ["PYDEVD_DISABLE_FILE_VALIDATION"]
    # `breakpoint()` is debugpy's already.
    pdb.set_trace = debugpy.breakpoint
    here = os.path.dirname(os.path.abspath(__file__))
    found = {
        "port": port,
        "python": sys.executable,
        "relay": os.path.join(here, "debug_relay.py"),
        "code": code_dir,
    }
    return json.dumps(found).encode("utf-8")


def wait_for_client():
    """Returns once a debugger is attached and has set its breakpoints."""
    import debugpy

    debugpy.wait_for_client()
