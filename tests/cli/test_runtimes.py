"""`sesame runtimes`: what it says where the directory of the runtimes belongs to another user."""

import os
from pathlib import Path

import pytest

from sesame.cli.runtimes import require_writable
from sesame.model.errors import ConfigurationError


def test_a_directory_of_another_user_is_named_with_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "share" / "sesame" / "runtimes"
    require_writable(root)
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK))
    with pytest.raises(ConfigurationError, match=rf"as the owner of {tmp_path}, or .* by SESAME_RUNTIMES_DIR"):
        require_writable(root)
