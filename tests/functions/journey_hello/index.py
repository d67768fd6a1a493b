# The manual's first function.
def my_handler(event, context):
    return 'hello world'
