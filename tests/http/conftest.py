"""Tests of the HTTP server run on both event loops: uvloop's, as in production, and the standard library's."""

import asyncio

import pytest
import uvloop

POLICIES = {"uvloop": uvloop.EventLoopPolicy, "asyncio": asyncio.DefaultEventLoopPolicy}


@pytest.fixture(scope="package", params=list(POLICIES))
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return POLICIES[request.param]()
