"""Errors of the test environment, as opposed to failures of the tested functions.

Raised throughout `testing`; a function's own failure is `function.FunctionFailed`.
"""


class CloudError(Exception):
    """The test's Sesame could not do as requested.

    The message states what was found, what was expected and what to do.
    """
