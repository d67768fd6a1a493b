"""How a process ends that a signal ended, as a shell counts it.

Used by commands, by the supervisor of agents, and by what runs nodes on Ray.
"""

import signal

EXIT_SIGNALLED = 128
EXIT_INTERRUPTED = EXIT_SIGNALLED + signal.SIGINT
