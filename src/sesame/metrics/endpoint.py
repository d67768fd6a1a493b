"""The operator's endpoint: only `GET /metrics`.

Served by `http.server` on its own port, without authentication: whoever can reach the port may read.
"""

from sesame.http.interface import Answer, Exchange, Refusal
from sesame.metrics.scrape import Scrape

PATH = b"/metrics"
_TEXT = ((b"Content-Type", b"text/plain; charset=utf-8"),)


class MetricsEndpoint:
    """An `http.interface.Endpoint`."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    async def serve(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.raw_path != PATH:
            _tell(exchange, 404, _TEXT, f"there is no {request.raw_path.decode('latin-1')} here; expected /metrics")
        elif request.method not in ("GET", "HEAD"):
            _tell(exchange, 405, ((b"Allow", b"GET, HEAD"), *_TEXT), f"found {request.method}; expected GET /metrics")
        else:
            accept = b",".join(value for name, value in request.headers if name == b"accept")
            scraped = await self._scrape.take(accept.decode("latin-1"))
            headers = ((b"Content-Type", scraped.content_type.encode()),)
            exchange.send_whole(200, headers, b"", scraped.body)

    def refuse(self, refusal: Refusal) -> Answer:
        return Answer(refusal.reason.value, _TEXT, refusal.message.encode() + b"\n")


def _tell(exchange: Exchange, status: int, headers: tuple[tuple[bytes, bytes], ...], text: str) -> None:
    exchange.send_whole(status, headers, b"", text.encode() + b"\n")
