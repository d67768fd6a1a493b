import threading
import time


def handler(event, context):
    wait_for_it()


def wait_for_it():
    print('going to sleep')
    time.sleep(1000)


def on_lock(event, context):
    """Python 2 does not hear signals here."""
    thread = threading.Thread(target=wait_for_it)
    thread.daemon = True
    thread.start()
    thread.join()


def handles_sigterm(event, context):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_it()
