# -*- coding: utf-8 -*-
import json
import os
import sys
import traceback

import broken_late
import parts
from parts import inner

TEXT = u'\u4e2d'


def handler(event, context):
    """What a function can see of how its modules were made."""
    import inspect
    import pkgutil
    try:
        broken_late.fails()
    except ValueError:
        trace = traceback.format_exc()
    return json.dumps({
        'files': [os.path.relpath(module.__file__, os.getcwd()) for module in (sys.modules['index'], parts, inner)],
        'path': [os.path.relpath(path, os.getcwd()) for path in parts.__path__],
        'names': [module.__name__ for module in (sys.modules['index'], parts, inner)],
        'packages': [module.__package__ for module in (parts, inner)],
        'loader': getattr(inner, '__loader__', None).__class__.__mro__[-2].__name__,
        'source': inspect.getsource(inner.value).strip(),
        'data': pkgutil.get_data('parts', 'data.txt').decode('ascii'),
        'modules': sorted(name for _, name, _ in pkgutil.iter_modules(parts.__path__)),
        'trace': trace.replace(os.getcwd(), '/code'),
        'code': inner.value.__code__.co_filename.replace(os.getcwd(), '/code'),
        'listing': sorted(name for _, folders, names in os.walk(os.getcwd()) for name in folders + names),
        'value': inner.value(),
    })


def late(event, context):
    """Imports what cannot be imported."""
    __import__(event if isinstance(event, str) else event.decode('ascii'))
