"""Obtains the interpreter of a runtime, from the source that has it, into Sesame's own directory.

Called by `sesame runtimes get`. Leaves existing interpreters alone; an error states what was tried and what else helps.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.runtimes.obtain import conda, lock, uv

Progress = Callable[[str], None]


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where interpreters come from: a conda channel, a mirror of uv's builds, and a proxy for both."""

    channel: str = conda.PUBLIC_CHANNEL
    mirror: str | None = None
    proxy: str | None = None


class Obtainer:
    """Obtains interpreters into `own`. `committed` is the lock of those from the channel."""

    def __init__(self, own: Path, sources: Sources, committed: Path = lock.COMMITTED) -> None:
        self._sources = sources
        self._conda = conda.CondaInterpreters(own, conda.Source(sources.channel, sources.proxy), committed)
        self._uv = uv.UvInterpreters(own, uv.Source(sources.mirror, sources.proxy))

    def get(self, runtime: str, progress: Progress) -> Path:
        """Returns the directory of the runtime's interpreter, obtaining it if missing. Raises `ConfigurationError`."""
        from_uv = _comes_from_uv(runtime)
        try:
            return (self._uv if from_uv else self._conda).get(runtime, progress)
        except ConfigurationError as error:
            place = (self._sources.mirror or "uv's source of builds") if from_uv else self._sources.channel
            minor = ".".join(map(str, MINOR_VERSIONS[runtime]))
            raise ConfigurationError(f"{runtime}: CPython {minor} was not brought from {place}: {error}") from error

    def get_all(self, runtimes: Sequence[str], progress: Progress) -> None:
        """Obtains several. A failure does not stop the others; all failures are raised together at the end."""
        failures: dict[str, str] = {}

        def attempt(runtime: str) -> None:
            try:
                self.get(runtime, lambda line: progress(f"{runtime}: {line}"))
            except ConfigurationError as error:
                failures[runtime] = str(error)

        for runtime in runtimes:
            attempt(runtime)
        if failures:
            raise ConfigurationError("\n".join([*failures.values(), *_what_else_helps(tuple(failures))]))


def _comes_from_uv(runtime: str) -> bool:
    return MINOR_VERSIONS[runtime] >= uv.OLDEST_MINOR


def _what_else_helps(runtimes: Sequence[str]) -> Iterator[str]:
    minors = [".".join(map(str, MINOR_VERSIONS[runtime])) for runtime in runtimes]
    mirrors = {"--interpreters-mirror" if _comes_from_uv(name) else "--interpreters-channel" for name in runtimes}
    yield f"    What else helps: a mirror ({' URL, '.join(sorted(mirrors))} URL) or a proxy (--interpreters-proxy URL);"
    yield f"    pyenv, which compiles them: `{' && '.join(f'pyenv install {minor}' for minor in minors)}`;"
    yield (
        f"    a machine like this one that has a network: there `sesame runtimes get {' '.join(runtimes)}` and "
        "`sesame runtimes pack`, here `sesame runtimes unpack FILE`"
    )
