"""Each agent's driver has a folder of its own, and what agents have left that are no more is removed."""

from pathlib import Path

from sesame._sandbox import SandboxNeeds, SandboxOpening
from sesame.sandbox.runtimes.lookup import Runtimes


async def test_an_agent_leaves_the_files_of_the_others_alone_and_removes_those_of_former_ones(tmp_path: Path) -> None:
    used = {number: _used(tmp_path, number) for number in (1, 2, 3, 12)}
    strange = tmp_path / "agent-of-somebody"
    strange.mkdir()
    await _opened(tmp_path, 1, 2)
    # What the dead agent with the same number has left goes, as with a Sesame of one agent.
    assert [number for number, path in used.items() if path.exists()] == [2]
    assert not (tmp_path / "agent-3").exists()
    assert strange.exists()
    _used(tmp_path, 1)
    await _opened(tmp_path, 2, 2)
    assert [number for number, path in used.items() if path.exists()] == [1]
    _used(tmp_path, 2)
    await _opened(tmp_path, 1, 1)
    assert not (tmp_path / "agent-2").exists()


def _used(state: Path, number: int) -> Path:
    """A file of a function in the folder of that agent."""
    state = state if number == 1 else state / f"agent-{number}"
    path = state / "plain" / "instances" / "c-1" / "file"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


async def _opened(state: Path, number: int, agents: int) -> None:
    """The driver of that agent begins and ends."""
    opening = SandboxOpening(
        SandboxNeeds(
            driver="plain",
            cpu="shares",
            state=state,
            look_up=lambda: Runtimes.look_up({}, state / "runtimes"),
            ahead=lambda _found: (),
            agent=(number, agents),
        )
    )
    try:
        await opening.opened()
    finally:
        await opening.close()
