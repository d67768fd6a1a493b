"""The public names of `sesame.testing`, documented in docs/testing.md.

Imported by the package itself.
"""

from sesame.testing.bucket import Bucket
from sesame.testing.clock import Clock
from sesame.testing.cloud import Cloud
from sesame.testing.errors import CloudError
from sesame.testing.function import AsyncCall, Function, FunctionFailed
from sesame.testing.invocation import Invocation
from sesame.testing.result import Result

__all__ = [
    "AsyncCall",
    "Bucket",
    "Clock",
    "Cloud",
    "CloudError",
    "Function",
    "FunctionFailed",
    "Invocation",
    "Result",
]
