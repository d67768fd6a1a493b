"""An ASGI application without a framework, for the tests of streams and websockets."""

import asyncio
import json
import os

import uvicorn

GATES = {}
# Bytes of the last download and of the last upload, so far.
PROGRESS = {"sent": 0, "received": 0}


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["type"] == "http":
        await PATHS.get(scope["path"], tell)(scope, receive, send)


async def tell(scope, receive, send):
    body = await whole(receive)
    headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    told = {
        "method": scope["method"], "path": scope["raw_path"].decode(), "query": scope["query_string"].decode(),
        "headers": headers, "body": body.decode("latin-1"), "pid": os.getpid(),
    }
    await answer(send, json.dumps(told).encode(), [
        (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"connection", b"x-hop"), (b"x-hop", b"1"),
    ])  # fmt: skip


async def gated(scope, receive, send):
    """A piece for each request to /open, so that the client decides when the next one comes."""
    GATES["open"] = gate = asyncio.Queue()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    for number in range(2):
        await gate.get()
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    await send({"type": "http.response.body"})


async def silent(scope, receive, send):
    """Says nothing before a request to /open."""
    GATES["open"] = gate = asyncio.Queue()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await gate.get()
    await send({"type": "http.response.body", "body": b"data: at last\n\n"})


async def open_gate(scope, receive, send):
    GATES["open"].put_nowait(None)
    await answer(send, b"opened")


async def echo(scope, receive, send):
    """Sends each piece back as it comes."""
    await send({"type": "http.response.start", "status": 201, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": True})
    await send({"type": "http.response.body"})


async def download(scope, receive, send):
    megabytes = int(scope["query_string"])
    length = str(megabytes << 20).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    piece = bytes(1 << 20)
    PROGRESS["sent"] = 0
    for _ in range(megabytes):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        PROGRESS["sent"] += len(piece)
    await send({"type": "http.response.body"})


async def upload(scope, receive, send):
    PROGRESS["received"], more = 0, True
    while more:
        message = await receive()
        PROGRESS["received"] += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, str(PROGRESS["received"]).encode())


async def progress(scope, receive, send):
    await answer(send, json.dumps(PROGRESS).encode())


async def hang(scope, receive, send):
    """Until the client goes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    print("the client has gone", flush=True)


async def broken(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    os._exit(5)


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as asked"})
            return
        reply = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **reply})


async def whole(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def answer(send, body, headers=()):
    head = [(b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


PATHS = {
    "/gated": gated, "/open": open_gate, "/echo": echo, "/download": download, "/upload": upload, "/hang": hang,
    "/broken": broken, "/progress": progress, "/silent": silent,
}

if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ["FC_SERVER_PORT"]), log_level="warning")
