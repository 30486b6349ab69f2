"""The application behind the proxy, in Flask, under gunicorn."""

from flask import Flask, jsonify, request

app = Flask(__name__)  # its defaults
ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def says(handler, *value):
    return jsonify({"handler": handler, "value": value[0]} if value else {"handler": handler})


@app.route("/", methods=ANY)
def root():
    return says("root")


@app.route("/admin", methods=ANY)
def admin():
    return says("admin")


@app.route("/admin/users/<id>", methods=ANY)
def user(id):
    return says("user", id)


@app.get("/items")
def items():
    return says("items", request.args.get("workspace"))


@app.get("/orders")
def orders():
    return says("orders", request.args.get("workspace_id"))


@app.get("/hdr")
def hdr():
    return says("hdr", request.headers.get("X-Org"))


@app.route("/w/<ws>", methods=ANY)
def workspace(ws):
    return says("workspace", ws)


@app.route("/files/<name>", methods=ANY)
def file(name):
    return says("file", name)


@app.get("/public/<name>")
def public(name):
    return says("public", name)


@app.post("/things/<id>")
def update(id):
    return says("update", id)


@app.delete("/things/<id>")
def delete(id):
    return says("delete", id)


@app.delete("/posts/<id>")
def unpublish(id):
    return says("unpublish", id)


@app.route("/exports", methods=ANY)
def exports():
    return says("exports")
