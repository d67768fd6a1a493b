"""Entry of the command `sesame` and of `python -m sesame`.

Until the command line is loaded, Ctrl-C ends the process as the system does, without a traceback.
"""

import signal


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported only now, because it takes a tenth of a second and more.
    from sesame.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
