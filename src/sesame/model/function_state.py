"""What holds for a function under every qualifier and is part of no version.

Made by `control.function_states`, kept by `store.catalog`, read by the engine's resolver.
"""

import msgspec


class FunctionState(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `function_state`, parent the owner, name the function's. There is no record where nothing was set.

    `reserved_concurrency` is the most calls at one time, None where it is not bounded. A function that is `disabled` is
    not invoked; `reason` is what was given for it, `disabled_at` when its invocation was last disabled or enabled.
    """

    reserved_concurrency: int | None = None
    disabled: bool = False
    reason: str = ""
    disabled_at: float = 0.0
    resource_group_id: str = ""
