# Gives the event back as it came.
def my_handler(event, context):
    return event
