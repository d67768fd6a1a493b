"""Maps an image's reference to a path of this machine: one of the settings, or one below the image root.

Used by `store.images.images`. A caller's reference never leads anywhere else.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from sesame.model.container import ImageUnavailable
from sesame.model.errors import ConfigurationError

FILE_SCHEME = "file://"
LATEST_TAG = ":latest"


class ImagePlaces:
    """`root` is `--image-root`; `named` is `[images]`, by reference."""

    def __init__(self, root: Path | None, named: Mapping[str, Path]) -> None:
        """Raises `ConfigurationError` for a path that does not exist."""
        if root is not None and not root.is_dir():
            raise ConfigurationError(f"image_root is '{root}', which is not a directory; make it, or name another")
        for reference, path in named.items():
            if not path.exists():
                raise ConfigurationError(
                    f"images has '{reference}' = '{path}', which is not there; put the image there, or name another"
                )
        self._root = None if root is None else root.resolve()
        self._named = {with_tag(reference): path.resolve() for reference, path in named.items()}

    def find(self, reference: str) -> Path:
        """The path of the image. Raises `ImageUnavailable`, which says what to set. Blocks."""
        named = self._named.get(with_tag(reference))
        if named is not None:
            return named
        if reference.startswith(FILE_SCHEME):
            return self._below_root(reference)
        raise ImageUnavailable(
            f"The image '{reference}' is not on this machine, which pulls none from a registry. Next: unpack it "
            f"(skopeo copy docker://{reference} oci:DIR), and have the server's sesame.toml say where: [images] "
            f'"{reference}" = "DIR"'
        )

    def _below_root(self, reference: str) -> Path:
        if self._root is None:
            raise ImageUnavailable(
                f"The image '{reference}' is a path of this machine, and the server names no directory of images. "
                f'Next: start Sesame with --image-root DIR, or with [images] "{reference}" = "DIR" in sesame.toml'
            )
        path = unquote(reference.removeprefix(FILE_SCHEME))
        try:
            found = Path(path).resolve() if path.startswith("/") and "\0" not in path else None
        except (OSError, RuntimeError):
            found = None
        # The same text for a missing path and one outside the root, to reveal nothing about this machine's files.
        if found is None or self._root not in found.parents or not found.exists():
            raise ImageUnavailable(
                f"The image '{reference}' is not in the server's directory of images (--image-root). Next: put it "
                "there, and name it as file:// and its absolute path"
            )
        return found


def with_tag(reference: str) -> str:
    """The reference, with the default tag if it has none."""
    if reference.startswith(FILE_SCHEME) or "@" in reference or ":" in reference.rpartition("/")[2]:
        return reference
    return reference + LATEST_TAG
