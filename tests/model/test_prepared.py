"""Many threads convert to a Struct for the first time, in a process of their own: it would end by a signal."""

import subprocess
import sys

import pytest

RACE = """
import sys, threading
import msgspec
from sesame.model.prepared import prepare_all, prepared

sys.setswitchinterval(1e-6)


def race():
    class Inner(msgspec.Struct):
        a: "int | None" = None
        b: "list[str] | None" = None
        c: "dict[str, int] | None" = None

    {decorator}
    class Outer(msgspec.Struct):
        one: Inner
        many: list[Inner]

    {call}
    start = threading.Barrier(4)

    def convert():
        start.wait()
        msgspec.convert({"one": {"a": 1, "c": {"k": 1}}, "many": [{"b": ["x"]}]}, Outer)

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


for _ in range(200):
    race()
"""


@pytest.mark.parametrize(("decorator", "call"), [("@prepared", ""), ("", "prepare_all.__wrapped__()")])
def test_threads_may_convert_to_it_at_the_same_time(decorator: str, call: str) -> None:
    race = RACE.replace("{decorator}", decorator).replace("{call}", call)
    done = subprocess.run([sys.executable, "-c", race], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
