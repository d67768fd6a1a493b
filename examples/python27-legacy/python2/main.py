# -*- coding: utf-8 -*-
import json
import urllib2


def my_handler(event, context):
    text = json.loads(event)['text']
    print 'counting the words of %d characters' % len(text)
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    quoted = urllib2.quote(u'Käse'.encode('utf-8'))
    return json.dumps({'counts': counts, 'half': len(text) / 2, 'quoted': quoted}, sort_keys=True)
