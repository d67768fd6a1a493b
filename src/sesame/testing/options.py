"""Options for deploying a function: the keyword arguments of `Cloud.function` and `Cloud.deploy`."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict


class FunctionOptions(TypedDict, total=False):
    """How to deploy a function. `fields` are additional fields of CreateFunction, as the API names them."""

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
