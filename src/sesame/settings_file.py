"""Reads the file of settings: `--config`, `SESAME_CONFIG`, or `sesame.toml` in the working directory.

Called by `settings.load`, which interprets the values.
"""

import difflib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sesame import regular_file
from sesame.model.errors import ConfigurationError

CONFIG_FILE = "sesame.toml"
CONFIG_FILE_BYTES_MAX = 1024 * 1024


def content_of(
    config_file: Path | None, environ: Mapping[str, str], known: Collection[str]
) -> tuple[Path, dict[str, Any]]:
    """Returns the path of the file and its content; without a file, the content is empty.

    Raises `ConfigurationError` for a file that cannot be read, is not TOML, or has a setting that is not `known`.
    """
    path = config_file or (Path(environ["SESAME_CONFIG"]) if environ.get("SESAME_CONFIG") else None)
    if path is None:
        path = Path(CONFIG_FILE)
        # Unlike pathlib's method, this is false if the working directory may not be searched.
        if not os.path.isfile(path):
            return path, {}
    # Imported late: every command would have to wait for the import.
    import tomllib

    try:
        content = tomllib.loads(regular_file.content(path, CONFIG_FILE_BYTES_MAX).decode("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; expected one of {', '.join(known)}"
            raise ConfigurationError(f"{path}: there is no setting '{name}'{hint}")
    return path, content
