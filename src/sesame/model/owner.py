"""What is published in versions, and has a role and a log target: a service, or one function by itself.

A function of FC 3.0 belongs to no service. It has an owner in the place of one: a record of kind `service`, named after
the function, so that it has all that a service has by the same code (docs/adr). An owner is named by a plain string.
Used by `control`, the engine and the endpoints where the two differ.
"""

from sesame.model import limits

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


def service_of(owner: str) -> str:
    """The name of the service; "" for the owner of a function that belongs to none."""
    return "" if stands_alone(owner) else owner


def label(owner: str, function: str, qualifier: str = "") -> str:
    """A function as commands and logs name it: `service/function`, or `function` where it stands alone.

    With `:qualifier` where one is given that is not LATEST. `owner` may also be as `service_of` answers.
    """
    name = f"{owner}/{function}" if service_of(owner) else function
    return name if qualifier in ("", limits.LATEST) else f"{name}:{qualifier}"


def trigger_label(parent: str, trigger: str) -> str:
    """A trigger as commands and logs name it; `parent` is `owner/function`, as in a trigger's record."""
    owner, _slash, function = parent.partition("/")
    return f"{label(owner, function)}/{trigger}"


def owner_phrase(owner: str) -> str:
    """An owner in a sentence: `service 's'`, or `function 'f'` for one that stands alone."""
    return f"{'function' if stands_alone(owner) else 'service'} '{spoken_owner(owner)}'"
