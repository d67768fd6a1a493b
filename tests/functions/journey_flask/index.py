# -*- coding: utf-8 -*-
from flask import Flask, jsonify, make_response, request

app = Flask(__name__)


@app.route("/hello/<name>", methods=["GET", "POST"])
def hello(name):
    answer = jsonify(
        name=name,
        args=request.args.getlist("a"),
        form=request.form.get("field"),
        cookie=request.cookies.get("who"),
        function=request.environ["fc.context"].function.name,
    )
    answer.set_cookie("seen", "yes")
    return answer


@app.route("/bytes", methods=["POST"])
def same():
    return make_response(request.get_data(), 201, {"Content-Type": "image/png"})
