"""What is published in versions, and has a role and a log target: a service, or one function by itself.

A function of FC 3.0 belongs to no service. It has an owner in the place of one: a record of kind `service`, named after
the function, so that it has all that a service has by the same code (docs/adr). An owner is named by a plain string.
Used by `control`, the engine and the endpoints where the two differ.
"""

# The cloud writes a function of a service as `service$function`. The name of no service has this character.
MARK = "$"
# In order of names: after the owners of single functions, before every service.
AFTER_OWNERS = chr(ord(MARK) + 1)


def owner_of(function: str) -> str:
    """The owner of a function that belongs to no service."""
    return MARK + function


def stands_alone(owner: str) -> bool:
    """Whether this is no service but the owner of one function."""
    return owner.startswith(MARK)


def spoken_owner(owner: str) -> str:
    """What callers call it: the name of the service, or of the function."""
    return owner.removeprefix(MARK)


def spoken_function(owner: str, function: str) -> str:
    """A function as the API of 2023-03-30 names it: `function`, or `service$function`."""
    return function if stands_alone(owner) else owner + MARK + function


def named_function(name: str) -> tuple[str, str]:
    """Owner and function that such a name means. What it names need not exist."""
    service, _mark, function = name.rpartition(MARK)
    return (service or owner_of(function)), function


def label(owner: str, function: str) -> str:
    """A function as commands and logs name it: `service/function`, or `function` where it stands alone."""
    return function if stands_alone(owner) else f"{owner}/{function}"
