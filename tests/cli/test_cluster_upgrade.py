"""What `sesame cluster upgrade` says when its cluster does not answer any more. Ray is not there."""

import contextlib
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from tests.on_ray.test_upgrading import RAY, THREE, Cluster

from sesame.cli import cluster_upgrade
from sesame.model.errors import ConfigurationError


class Forgetful(Cluster):
    """Its placer falls silent once a node has begun."""

    ray_version = RAY

    def upgrades(self, who: str, *, ends: bool = False) -> str:
        if self.begun:
            raise ConfigurationError("the cluster's placer does not answer")
        return super().upgrades(who, ends=ends)


def test_a_placer_that_falls_silent_is_told_with_what_was_done_and_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Forgetful(*THREE)
    cluster.unlinked_for = 2

    @contextlib.contextmanager
    def required(_address: str | None) -> Iterator[Forgetful]:
        yield cluster

    monkeypatch.setattr(cluster_upgrade, "required", required)
    done = CliRunner().invoke(cluster_upgrade.upgrade, [])
    assert isinstance(done.exception, ConfigurationError)
    said = str(done.exception)
    assert said.startswith("0 nodes were upgraded; then the cluster's placer does not answer")
    assert "run `sesame cluster upgrade` again: it goes on" in said
