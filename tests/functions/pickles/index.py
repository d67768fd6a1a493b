import copy
import pickle


def handler(event, context):
    again = pickle.loads(pickle.dumps(context, 2))
    return [again.request_id, copy.deepcopy(context).service.name, type(again) is type(context)]
