# A handler in a module inside a package.
def my_handler(event, context):
    return __name__
