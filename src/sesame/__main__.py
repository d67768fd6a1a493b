"""Entry of the command `sesame` and of `python -m sesame`.

Until the command line is loaded, Ctrl-C ends the process as the system does, without a traceback.
"""

import os
import signal
import sys

NO_WINDOWS = "error: Sesame needs Linux or macOS. On Windows it runs in WSL 2: wsl --install, and install it there.\n"


def main() -> None:
    if sys.platform == "win32":
        # Said before anything is imported that is not there.
        sys.stderr.write(NO_WINDOWS)
        sys.exit(1)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    hold_standard_descriptors()
    # Imported only now, because it takes a tenth of a second and more.
    from sesame.cli.main import main as run

    run()


def hold_standard_descriptors() -> None:
    """Opens /dev/null as stdin, stdout and stderr where the process was started without: a database or a socket would
    get the number otherwise, be written to by whoever prints, and be no file that libuv closes.

    `sys.stdout` stays None, so that commands can say that nobody reads their result.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


if __name__ == "__main__":
    main()
