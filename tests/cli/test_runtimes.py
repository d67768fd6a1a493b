"""`sesame runtimes`: what it says where the directory of the runtimes belongs to another user."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from sesame.cli.runtimes import Invoked, install, require_writable
from sesame.model.errors import ConfigurationError
from sesame.model.limits import NODE_RUNTIMES
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.node_packages import NodePackages
from sesame.sandbox.runtimes.site_packages import SitePackages


def test_a_directory_of_another_user_is_named_with_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "share" / "sesame" / "runtimes"
    require_writable(root)
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK))
    with pytest.raises(ConfigurationError, match=rf"as the owner of {tmp_path}, or .* by SESAME_RUNTIMES_DIR"):
        require_writable(root)


@pytest.mark.parametrize(
    ("names", "installed"), [(["nodejs"], list(NODE_RUNTIMES)), (["nodejs20", "nodejs8"], ["nodejs8", "nodejs20"])]
)
def test_packages_of_node_are_installed_where_they_are_named(
    names: list[str], installed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(NodePackages, "install", lambda _self, runtime, _progress: tried.append(runtime))
    known = Runtimes({}, SitePackages(tmp_path, {}), {})
    done = CliRunner().invoke(install, [*names, "--json"], obj=Invoked({}, known))
    assert tried == installed
    assert [each["runtime"] for each in json.loads(done.stdout)["runtimes"]] == installed


def test_a_runtime_that_there_is_not_is_refused_with_those_there_are(tmp_path: Path) -> None:
    known = Runtimes({}, SitePackages(tmp_path, {}), {})
    done = CliRunner().invoke(install, ["nodejs9"], obj=Invoked({}, known))
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception).startswith("there is no runtime 'nodejs9'; expected one of python2.7, ")
    assert str(done.exception).endswith("nodejs, " + ", ".join(NODE_RUNTIMES))
