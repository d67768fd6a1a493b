"""Where destinations are, in every form in which they may be written."""

import pytest

from sesame.destinations.routes import FunctionRoute, NoRoute, Routes, UrlRoute
from sesame.model.arn import Arns
from sesame.model.destinations import is_web_url
from sesame.model.invocation import Target

MAPPED = {"acs:mns:": "http://mns/", "acs:mns:cn-shanghai:123:/queues/q": "http://q/", "acs:eventbridge:": "http://eb/"}
ROUTES = Routes(Arns("cn-shanghai", "123"), MAPPED)


@pytest.mark.parametrize(
    ("arn", "target"),
    [
        ("acs:fc:cn-shanghai:123:services/s.prod/functions/f", Target("s", "prod", "f")),
        ("acs:fc:cn-shanghai:123:services/s.LATEST/functions/f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-shanghai:123:services/s/functions/f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-shanghai::services/s/functions/f", Target("s", "LATEST", "f")),
        ("acs:fc:::services/s.3/functions/f", Target("s", "3", "f")),
        ("services/s.prod/functions/f", Target("s", "prod", "f")),
        ("acs:fc:cn-shanghai:123:functions/s$f", Target("s", "LATEST", "f")),
        ("acs:fc:cn-shanghai:123:functions/s$f/prod", Target("s", "prod", "f")),
    ],
)
def test_a_function_is_found_by_each_form_of_its_arn(arn: str, target: Target) -> None:
    assert ROUTES.find(arn) == FunctionRoute(target)


@pytest.mark.parametrize(
    "arn",
    [
        "acs:fc:cn-beijing:123:services/s/functions/f",
        "acs:fc:cn-shanghai:999:services/s/functions/f",
        "acs:fc:cn-shanghai:123:services/s",
        "acs:mq:cn-shanghai:123:/topics/t",
        "acs:fc:cn-shanghai:123:services/s/functions/f/more",
    ],
)
def test_what_is_not_here_has_no_route_and_the_reason_says_what_to_do(arn: str) -> None:
    route = ROUTES.find(arn)
    assert isinstance(route, NoRoute)
    assert arn in route.reason
    assert "--destinations" in route.reason


def test_an_arn_goes_where_its_longest_mapped_beginning_says() -> None:
    assert ROUTES.find("acs:mns:cn-shanghai:123:/queues/q/messages") == UrlRoute(
        "http://q/", as_event=False, of_operator=True
    )
    assert ROUTES.find("acs:mns:::/topics/t/messages") == UrlRoute("http://mns/", as_event=False, of_operator=True)
    assert ROUTES.find("acs:eventbridge:cn-shanghai:123:eventbus/b") == UrlRoute(
        "http://eb/", as_event=True, of_operator=True
    )
    assert ROUTES.find("https://h/p?q=1") == UrlRoute("https://h/p?q=1", as_event=False, of_operator=False)


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/p?q=%20", "http://[::1]:80/", "http://h/?to=a@b"])
def test_urls_of_web_servers(url: str) -> None:
    assert is_web_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://h/", "http://", "http:///p", "//h/p", "h/p", "http://h:99999/", "http://h:0/",
     "http://h/ a", "http://h/\n", "http://h/#x", "gopher://h", "http://u:p@h/", "http://u@h/", "http://@h/",
      "http://h:port/", "http://ü/", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_url_of_a_web_server(url: str) -> None:
    assert not is_web_url(url)
