"""Which project a Host header means."""

import pytest

from sesame.sls.request import project_of_host

OWN = frozenset({"localhost", "sls.localhost", "logs.example"})


@pytest.mark.parametrize(
    ("host", "project"),
    [
        ("127.0.0.1", ""),
        ("p.127.0.0.1", "p"),
        ("[::1]", ""),
        ("localhost", ""),
        ("p.localhost", "p"),
        ("sls.localhost", ""),
        ("p.sls.localhost", "p"),
        ("cn-shanghai.log.aliyuncs.com", ""),
        ("cn-shanghai-intranet.log.aliyuncs.com", ""),
        ("p.cn-shanghai.log.aliyuncs.com", "p"),
        ("p.cn-hangzhou.sls.aliyuncs.com", "p"),
        ("logs.example", ""),
        ("p.logs.example", "p"),
        ("p.elsewhere.example", "p"),
        ("machine", ""),
    ],
)
def test_the_first_label_below_a_name_of_the_service_is_the_project(host: str, project: str) -> None:
    assert project_of_host(host, OWN) == project
