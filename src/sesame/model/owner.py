"""The owner of functions, which versions freeze and which has a role and log target: a service or a single function.

A function of FC 3.0 belongs to no service. Its owner is a record of kind `service`, named after the function, so that
the code for services applies to it (docs/adr). An owner is named by a plain string.
Used by `control`, the engine and the endpoints where services and single functions differ.
"""

from sesame.model import limits

# The cloud writes a function of a service as `service$function`. No service name contains this character.
MARK = "$"
# Sorts after the owners of single functions and before every service.
AFTER_OWNERS = chr(ord(MARK) + 1)


def owner_of(function: str) -> str:
    """The owner of a function that belongs to no service."""
    return MARK + function


def stands_alone(owner: str) -> bool:
    """Whether `owner` is the owner of a single function instead of a service."""
    return owner.startswith(MARK)


def spoken_owner(owner: str) -> str:
    """The name that callers use: the service's, or the function's."""
    return owner.removeprefix(MARK)


def spoken_function(owner: str, function: str) -> str:
    """A function's name in API 2023-03-30: `function`, or `service$function`."""
    return function if stands_alone(owner) else owner + MARK + function


def named_function(name: str) -> tuple[str, str]:
    """Owner and function of a name written by `spoken_function`. Neither needs to exist."""
    service, _mark, function = name.rpartition(MARK)
    return (service or owner_of(function)), function


def service_of(owner: str) -> str:
    """The service's name; "" for the owner of a function that belongs to none."""
    return "" if stands_alone(owner) else owner


def label(owner: str, function: str, qualifier: str = "") -> str:
    """A function's name in commands and logs: `service/function`, or `function` if it belongs to no service.

    Followed by `:qualifier` if one is given that is not LATEST. `owner` may also be a result of `service_of`.
    """
    name = f"{owner}/{function}" if service_of(owner) else function
    return name if qualifier in ("", limits.LATEST) else f"{name}:{qualifier}"


def trigger_label(parent: str, trigger: str) -> str:
    """A trigger's name in commands and logs; `parent` is `owner/function`, as in a trigger's record."""
    owner, _slash, function = parent.partition("/")
    return f"{label(owner, function)}/{trigger}"


def owner_phrase(owner: str) -> str:
    """An owner in a sentence: `service 's'`, or `function 'f'` for a function that belongs to no service."""
    return f"{'function' if stands_alone(owner) else 'service'} '{spoken_owner(owner)}'"
