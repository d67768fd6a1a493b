"""What an instance uses of the machine at one moment.

Measured by the sandbox's drivers; read by what writes the metrics of instances.
"""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Of all processes of an instance, by the kernel's counts. `cpu_s` is processor time since the instance's start.

    `cpu_quota` is how many processors it may use at the most; None where no quota is held.
    """

    cpu_s: float
    memory_mb: float
    cpu_quota: float | None = None
