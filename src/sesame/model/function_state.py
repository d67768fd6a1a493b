"""Settings that apply to a function under every qualifier and are not part of a version.

Created by `control.function_states`, stored by `store.catalog`, read by the engine's resolver.
"""

import msgspec


class FunctionState(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `function_state`, parent the owner, name the function. There is no record if nothing was set.

    `reserved_concurrency` caps the calls at one time; None means no cap. A `disabled` function is not invoked; `reason`
    is the caller's text, `disabled_at` when its invocation was last disabled or enabled.
    """

    reserved_concurrency: int | None = None
    disabled: bool = False
    reason: str = ""
    disabled_at: float = 0.0
    resource_group_id: str = ""
