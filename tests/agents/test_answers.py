"""Sockets in the networks of a follower's instances, as they are handed to one writer and the next."""

import os
import socket

from sesame.agents import messages as m
from sesame.agents.answers import WritersAnswers
from sesame.sandbox.network import Inside, Listen

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
