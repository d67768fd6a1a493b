"""How a test has a function deployed.

The keyword arguments of `Cloud.function` and `Cloud.deploy`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict


class FunctionOptions(TypedDict, total=False):
    """How a function is deployed. `fields` are further ones of CreateFunction, in the API's own words."""

    service: str
    name: str
    runtime: str
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]
    initializer: Callable[..., Any]
    http: bool
    role: str
    fields: Mapping[str, Any]
