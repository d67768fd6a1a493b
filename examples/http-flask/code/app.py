"""Notes over HTTP. They are kept in the instance: a real one would keep them in a store."""

from flask import Flask, abort, jsonify, request

app = Flask(__name__)
notes = {}


@app.get("/notes")
def list_notes():
    return jsonify(sorted(notes))


@app.post("/notes/<name>")
def put_note(name):
    notes[name] = request.get_data(as_text=True)
    return jsonify(name=name, size=len(notes[name])), 201


@app.get("/notes/<name>")
def get_note(name):
    if name not in notes:
        abort(404, f"there is no note {name}")
    return notes[name], {"Content-Type": "text/plain; charset=utf-8"}
