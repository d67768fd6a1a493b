# -*- coding: utf-8 -*-
import json
def my_handler(event, context):    
    evt = json.loads(event)    
    return evt['key']
