import bootstrap
import context as context_module
import failures
import handlers
import output
import results
import surroundings
import watchdog
import wire


def handler(event, context):
    modules = (bootstrap, context_module, failures, handlers, output, results, surroundings, watchdog, wire)
    return [module.WHOSE for module in modules]
