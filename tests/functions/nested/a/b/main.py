def func(event, context):
    return __name__
