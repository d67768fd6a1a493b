"""Sockets in the networks of a follower's instances, as they are handed to one writer and the next."""

import os
import socket

import pytest

from sesame.agents import answers as module
from sesame.agents import messages as m
from sesame.agents.answers import WritersAnswers, reach
from sesame.sandbox.network import HostAnswers, Inside, Listen

DNS, HTTP = Listen("udp", "100.64.0.1", 53), Listen("tcp", "100.64.0.1", 80)
INSIDE = Inside(listens=(DNS, HTTP))


class Sent:
    def __init__(self) -> None:
        self.messages: list[m.Message] = []

    def __call__(self, message: m.Message, fds: tuple[int, ...]) -> None:
        self.messages.append(message)
        for fd in fds:
            os.close(fd)

    def taken(self) -> list[m.Message]:
        messages, self.messages = self.messages, []
        return messages


async def test_sockets_are_handed_to_a_writer_that_can_answer_on_them_and_to_no_other() -> None:
    sent = Sent()
    answers = WritersAnswers(sent)
    answers.offered(INSIDE)
    assert await answers.inside() == INSIDE
    end = answers.serve(DNS, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "first")
    assert sent.taken() == [m.ServeInside(1, DNS, "first")]
    answers.writer_gone()
    end_too = answers.serve(HTTP, socket.socket(), "second")
    assert sent.taken() == []
    answers.offered(INSIDE)
    answers.offered(INSIDE)
    assert sent.taken() == [m.ServeInside(1, DNS, "first"), m.ServeInside(2, HTTP, "second")]
    end()
    end_too()
    assert sent.taken() == [m.EndInside(1), m.EndInside(2)]


async def test_connections_to_object_storage_are_handed_to_a_writer_and_wait_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REACHING_MAX", 2)
    sent = Sent()
    answers = WritersAnswers(sent)
    take = await answers.object_storage()
    ends = [socket.socketpair() for _ in range(4)]
    for number in range(3):
        take(ends[number][0], f"client {number}")
    assert sent.taken() == []
    assert ends[2][1].recv(1) == b"", "too many wait already"
    answers.offered(INSIDE)
    take(ends[3][0], "client 3")
    assert sent.taken() == [m.ReachObjects("client 0"), m.ReachObjects("client 1"), m.ReachObjects("client 3")]
    for _ours, theirs in ends:
        theirs.close()


async def test_a_writer_serves_them_where_it_has_object_storage() -> None:
    clients: list[str] = []

    def take(connected: socket.socket, client: str) -> None:
        clients.append(client)
        connected.close()

    host = HostAnswers()
    host.offer_object_storage(take)
    for answers in (host, HostAnswers()):
        answers.offered()
        ours, theirs = socket.socketpair()
        await reach(answers, ours, "agent 2, mounted buckets")
        assert theirs.recv(1) == b""
        theirs.close()
    assert clients == ["agent 2, mounted buckets"]
