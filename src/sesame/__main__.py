"""Entry of the command `sesame` and of `python -m sesame`.

Until the command line is loaded, Ctrl-C ends the process as the system does, without a traceback.
"""

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
    # Imported only now, because it takes a tenth of a second and more.
    from sesame.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
