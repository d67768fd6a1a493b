"""Looks a name up in a database, over a pool of connections that the initializer opens once for each instance.

The database is SQLite in /tmp, to need no server; a real one would be elsewhere.
"""

import contextlib
import json
import os
import queue
import sqlite3

PATH = "/tmp/catalogue.db"
pool = queue.SimpleQueue()
opened = 0


def initialize(context):
    global opened
    with sqlite3.connect(PATH) as database:
        database.execute("create table if not exists prices (name text primary key, price real)")
        database.executemany("insert or replace into prices values (?, ?)", [("tea", 4.5), ("cup", 7.0)])
    for _ in range(int(os.environ["POOL_SIZE"])):
        pool.put(sqlite3.connect(PATH))
        opened += 1


@contextlib.contextmanager
def connection():
    held = pool.get()
    try:
        yield held
    finally:
        pool.put(held)


def handler(event, context):
    with connection() as database:
        row = database.execute("select price from prices where name = ?", [json.loads(event)["name"]]).fetchone()
    return json.dumps({"price": row and row[0], "connectionsOpened": opened})
