"""An instance's use of the machine at one moment.

Measured by the sandbox drivers; used for the instances' metrics.
"""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Totals of all processes of an instance, from the kernel. `cpu_s` is CPU time since the instance's start.

    `cpu_quota` is the maximum number of CPUs; None if no quota is enforced.
    """

    cpu_s: float
    memory_mb: float
    cpu_quota: float | None = None
