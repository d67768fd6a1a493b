"""Explains in one line of a function's log why its process ended.

Used by the engine for deaths during a call, and by the drivers for deaths between calls. The caller's answer has the
cloud's wording, which does not distinguish the causes.
"""

import signal

_KILLED_BY = "killed by "


def line_of(reason: str, detail: str) -> str:
    """The line for a `SandboxDied`'s `reason` and `detail`; "" if the platform itself ended the instance."""
    if reason == "exit":
        return f"[sesame] the function's process {_exit(detail)}"
    if reason == "out_of_memory":
        return f"[sesame] the function's process was killed because it was out of memory: {detail}"
    if reason == "disk":
        return f"[sesame] the instance was ended because its temporary directory was full: {detail}"
    if reason == "protocol":
        return f"[sesame] the instance was ended because its process broke the protocol with the platform: {detail}"
    if reason == "ran_on":
        return f"[sesame] the instance was ended because it cannot be frozen: {detail}"
    return ""


def _exit(detail: str) -> str:
    how, semicolon, meaning = detail.partition(";")
    if how.startswith("exit status "):
        how = f"ended with {how}"
    elif how.startswith(_KILLED_BY):
        how = f"was {how}{_meaning(how.removeprefix(_KILLED_BY))}"
    else:
        how = "ended; how is not known"
    return how + semicolon + meaning


def _meaning(name: str) -> str:
    """` (Segmentation fault)` for SIGSEGV."""
    try:
        return f" ({signal.strsignal(signal.Signals[name])})"
    except (KeyError, ValueError):
        return ""
