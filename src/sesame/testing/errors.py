"""What goes wrong in tests by no fault of the tested functions.

Raised by everything in `testing`; a function's own failure is `function.FunctionFailed`.
"""


class CloudError(Exception):
    """The test's Sesame could not do what was asked: what was found, what was expected, and the next step."""
