"""Both sides of the handshake without sockets, and everything that must not pass for one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.cluster.handshake import (
    ANSWER_BYTES,
    CHALLENGE_BYTES,
    LINE,
    OPENING_BYTES,
    PROOF_BYTES,
    Answering,
    NotOfCluster,
    Opening,
    Purpose,
)

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PURPOSES = st.sampled_from(Purpose)


@given(PURPOSES)
def test_two_with_one_key_prove_themselves_and_say_what_for(purpose: Purpose) -> None:
    opening, answering = Opening(KEY, purpose), Answering(KEY)
    answer = answering.opened(opening.first)
    proof = opening.answered(answer)
    assert (len(opening.first), len(answer), len(proof)) == (OPENING_BYTES, ANSWER_BYTES, PROOF_BYTES)
    assert answering.proved(proof) is purpose


def test_another_key_is_found_by_who_connects_before_it_proves_anything() -> None:
    opening = Opening(OTHER_KEY, Purpose.LINK)
    with pytest.raises(NotOfCluster, match="another key"):
        opening.answered(Answering(KEY).opened(opening.first))


def test_one_who_does_not_look_is_refused_by_the_other_side() -> None:
    answering = Answering(KEY)
    answer = answering.opened(Opening(OTHER_KEY, Purpose.LINK).first)
    for proof in (bytes(32), answer[-PROOF_BYTES:], b"", answer):
        with pytest.raises(NotOfCluster, match="has not proven"):
            answering.proved(proof)


def test_a_proof_before_its_challenge_is_refused() -> None:
    with pytest.raises(NotOfCluster):
        Answering(KEY).proved(bytes(PROOF_BYTES))


@given(st.data(), PURPOSES)
def test_no_bit_of_what_is_said_can_change(data: st.DataObject, purpose: Purpose) -> None:
    def changed(said: bytes) -> bytes:
        at = data.draw(st.integers(0, len(said) * 8 - 1))
        return bytes(byte ^ (1 << at % 8 if number == at // 8 else 0) for number, byte in enumerate(said))

    opening, answering = Opening(KEY, purpose), Answering(KEY)
    match data.draw(st.sampled_from(("first", "answer", "proof"))):
        case "first":
            with pytest.raises(NotOfCluster):
                opening.answered(answering.opened(changed(opening.first)))
        case "answer":
            with pytest.raises(NotOfCluster):
                opening.answered(changed(answering.opened(opening.first)))
        case _:
            proof = opening.answered(answering.opened(opening.first))
            with pytest.raises(NotOfCluster):
                answering.proved(changed(proof))


@given(st.binary(max_size=2 * ANSWER_BYTES), st.sampled_from((b"", LINE)))
def test_whatever_else_is_said_is_refused(said: bytes, before: bytes) -> None:
    with pytest.raises(NotOfCluster):
        Opening(KEY, Purpose.TUNNEL).answered(before + said)
    answering = Answering(KEY)
    try:
        answering.opened(before + said)
    except NotOfCluster:
        pass
    else:
        # An opening proves nothing yet.
        assert len(before + said) == OPENING_BYTES
    with pytest.raises(NotOfCluster):
        answering.proved(said)


def test_what_was_overheard_is_of_no_use_again() -> None:
    opening, answering = Opening(KEY, Purpose.LINK), Answering(KEY)
    answer = answering.opened(opening.first)
    proof = opening.answered(answer)
    again = Answering(KEY)
    assert again.opened(opening.first) != answer
    with pytest.raises(NotOfCluster):
        again.proved(proof)
    # To another one that connects, as if the node had answered.
    with pytest.raises(NotOfCluster):
        Opening(KEY, Purpose.LINK).answered(answer)


def test_what_one_side_proves_is_no_proof_of_the_other() -> None:
    """As where somebody has a node answer its own challenge."""
    opening, answering = Opening(KEY, Purpose.LINK), Answering(KEY)
    answer = answering.opened(opening.first)
    mirrored = Answering(KEY)
    mirrored.opened(LINE + bytes((Purpose.LINK,)) + answer[len(LINE) : len(LINE) + CHALLENGE_BYTES])
    with pytest.raises(NotOfCluster):
        mirrored.proved(answer[-PROOF_BYTES:])
    with pytest.raises(NotOfCluster):
        opening.answered(answer[:-PROOF_BYTES] + opening.answered(answer))


def test_another_version_is_told_from_another_program() -> None:
    newer = LINE.replace(b"001", b"002")
    with pytest.raises(NotOfCluster, match="version 002"):
        Opening(KEY, Purpose.LINK).answered(newer)
    with pytest.raises(NotOfCluster, match="version 002"):
        Answering(KEY).opened(newer + bytes(OPENING_BYTES - len(LINE)))
    with pytest.raises(NotOfCluster, match="does not speak as a node"):
        Answering(KEY).opened(b"GET / HTTP/1.1\r\nHost: sesame.example\r\n\r\n" + bytes(20))
    with pytest.raises(NotOfCluster, match="does not know"):
        Answering(KEY).opened(LINE + b"\x63" + bytes(CHALLENGE_BYTES))
