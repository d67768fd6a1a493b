"""A Flask application as a function, under gunicorn: events and pages."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/invoke")
def invoke():
    return {"event": request.get_data(as_text=True), "request": request.headers["x-fc-request-id"]}


@app.get("/hello/<name>")
def hello(name):
    return f"{request.args.get('greeting', 'hello')} {name}"


@app.get("/broken")
def broken():
    raise RuntimeError("out of order")
