"""The same for a newer Python: `print`, `urllib`, and a division that stays whole."""

import json
from urllib.parse import quote


def my_handler(event, context):
    text = json.loads(event)["text"]
    print("counting the words of %d characters" % len(text))
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return json.dumps({"counts": counts, "half": len(text) // 2, "quoted": quote("Käse")}, sort_keys=True)
