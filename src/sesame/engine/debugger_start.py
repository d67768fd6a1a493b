"""Makes a new instance start its debugger before any of the function's code is loaded.

Called by `engine.startup` for instances that are to be debugged (`engine.debugging`).
"""

import msgspec

from sesame.engine.instance import CallFailed, Debugger, Instance
from sesame.model.errors import NotStarted
from sesame.sandbox.interface import KillReason

# What debugpy and its adapter need in addition to the function's memory.
MEMORY_MB = 512
LISTEN_TIMEOUT_S = 60.0


async def listen(instance: Instance) -> None:
    """Makes the debugger of a new instance listen. Raises `NotStarted` after ending the instance."""
    reply = await instance.call("debug", "", {}, b"", LISTEN_TIMEOUT_S)
    try:
        if isinstance(reply, CallFailed):
            raise NotStarted(f"its debugger did not start ({reply.reason}); the function's log says more")
        if not reply.ok:
            raise NotStarted(f"its debugger did not start: {reply.payload.decode(errors='replace')[:500]}")
        instance.debugger = msgspec.json.decode(reply.payload, type=Debugger)
    except NotStarted:
        await instance.kill(KillReason.FAILED)
        raise
    except (ValueError, RecursionError) as error:
        await instance.kill(KillReason.FAILED)
        raise NotStarted(f"its debugger did not start: it answered {reply!r}"[:500]) from error
