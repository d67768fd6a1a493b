"""Calls a handler of a local directory under a debugger: waits until a client is attached, then makes the call.

Used by `sesame invoke --debug`. The debugger listens on this machine's loopback interface, and leaves nothing behind.
"""

from pathlib import Path

from sesame.cli import local
from sesame.cli.local import Say
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.dev import launch_json
from sesame.dev.debug_bridge import HOST, DebugBridge
from sesame.model.errors import ConfigurationError
from sesame.model.invocation import Outcome
from sesame.settings import Settings


async def run_debugged(function: LocalFunction, call: LocalCall, settings: Settings, port: int, say: Say) -> Outcome:
    """Like `local.run_local`, after a debugger has attached and set its breakpoints."""
    async with local.opened(function, settings, say, sink=local.to_stderr, debug=True) as calls:
        debugging, target = calls.debugging, calls.target
        debugger = await debugging.start(target)
        bridge = DebugBridge(lambda: debugging.connect(target), say)
        try:
            port = await bridge.listen(port)
        except OSError as error:
            raise ConfigurationError(
                f"the debugger cannot listen on {HOST}:{port}: {error.strerror}; --debug-port names another"
            ) from error
        try:
            folder = Path.cwd()
            attach = launch_json.Attach(function.handler, port, function.code, debugger.code)
            why = launch_json.write(folder, attach)
            say(f"Waiting for a debugger at {HOST}:{port} ({function.code} is {debugger.code}); stop with Ctrl-C.")
            if why:
                say(f"{why}. What belongs into it: {launch_json.configuration(folder, attach)}")
            else:
                say(f"In VS Code: Run and Debug, '{launch_json.name_of(function.handler)}'.")
            await debugging.wait_for_client(target)
            return await calls.call(call)
        finally:
            await bridge.close()
