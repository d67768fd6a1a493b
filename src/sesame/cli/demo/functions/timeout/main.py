# -*- coding: utf-8 -*-
"""Sleeps longer than its time limit, unless its event says otherwise.

Deployed by `sesame demo` with a time limit of one second.
The platform stops it.
"""

import time


def my_handler(event, context):
    if event != b"quick":
        print("going to sleep for a minute")
        time.sleep(60)
    return "in time"
