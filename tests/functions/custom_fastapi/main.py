"""A FastAPI application as a function: events, pages and bodies that are checked."""

from fastapi import FastAPI, Request
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    item: str
    count: int = 1


@app.post("/invoke")
async def invoke(request: Request):
    return {"event": (await request.body()).decode(), "request": request.headers["x-fc-request-id"]}


@app.get("/hello/{name}")
async def hello(name: str, greeting: str = "hello"):
    return f"{greeting} {name}"


@app.post("/orders", status_code=201)
async def order(order: Order):
    return {"ordered": f"{order.count} x {order.item}"}
