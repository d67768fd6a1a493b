# Shows what the function is told of its trace.
import json


def my_handler(event, context):
    tracing = context.tracing
    return json.dumps([tracing.span_context, tracing.span_baggages, tracing.jaeger_endpoint])
