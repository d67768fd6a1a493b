from pathlib import Path

import requests

HERE = Path(__file__).parent


def test_an_event_is_a_request(sesame):
    ticks = sesame.deploy_template(HERE / "template.yml")["clock/ticks"]
    assert ticks.invoke({"count": 3}).json() == {"ticks": [0, 1, 2]}


def test_events_stream_to_browsers(sesame):
    ticks = sesame.deploy_template(HERE / "template.yml")["clock/ticks"]
    with requests.get(ticks.url, stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = [line for line in answer.iter_lines() if line]
    assert lines == [b"data: tick 0", b"data: tick 1", b"data: tick 2"]
