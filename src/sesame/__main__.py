"""Entry of the command `sesame` and of `python -m sesame`.

Until the command line is loaded, Ctrl-C ends the process as the system does, without a traceback.
"""

import os
import sys

try:
    # Imports `enum`, which takes some milliseconds.
    import signal
except KeyboardInterrupt:
    from sesame.model.exit_codes import EXIT_INTERRUPTED

    sys.exit(EXIT_INTERRUPTED)

NO_WINDOWS = "error: Sesame needs Linux or macOS. On Windows it runs in WSL 2: wsl --install, and install it there.\n"


def main() -> None:
    if sys.platform == "win32":
        # Checked before any import that fails on Windows.
        sys.stderr.write(NO_WINDOWS)
        sys.exit(1)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    hold_standard_descriptors()
    # Imported late because the import takes a tenth of a second or more.
    from sesame.cli.main import main as run

    run()


def hold_standard_descriptors() -> None:
    """Opens /dev/null as stdin, stdout and stderr if the process was started without them.

    Otherwise a database or a socket would get one of these descriptors, and anything that prints would write to it.
    `sys.stdout` stays None, so that commands can report that nobody reads their result.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # `os.open` takes the lowest free descriptor, which is `number`.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


if __name__ == "__main__":
    main()
