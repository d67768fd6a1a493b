"""Exit codes of processes ended by a signal, as a shell reports them.

Used for commands, by the supervisor of agents, and to run nodes on Ray.
"""

import signal

EXIT_SIGNALLED = 128
EXIT_INTERRUPTED = EXIT_SIGNALLED + signal.SIGINT
