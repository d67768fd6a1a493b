"""A whole Sesame for tests, in its own process: `with Cloud() as cloud:`.

The pytest plugin provides one as the fixture `sesame`. The public names here are documented in docs/testing.md and
stay compatible.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Unpack, overload

from sesame.model.log_service_address import log_service_endpoint
from sesame.testing.bucket import Bucket
from sesame.testing.clock import Clock
from sesame.testing.errors import CloudError
from sesame.testing.function import Function
from sesame.testing.invocation import Invocation, decoded
from sesame.testing.options import FunctionOptions
from sesame.testing.process import ServerProcess
from sesame.testing.source import source_of

if TYPE_CHECKING:
    from sesame.testing.api import Api

SANDBOXES = ("auto", "jail", "plain")
# Newest first; a function that names no runtime gets the first one available.
RUNTIMES = ("python3.12", "python3.10", "python3.9", "python3", "python2.7")


class Cloud:
    """One Sesame on free ports of 127.0.0.1, with its own folder. Starts on first use or as a context manager.

    `sandbox` is auto, jail or plain; `runtime` is the default runtime of functions.
    """

    def __init__(self, *, sandbox: str = "auto", runtime: str = "", region: str = "cn-hangzhou") -> None:
        if sandbox not in SANDBOXES:
            raise CloudError(f"sandbox is '{sandbox}'; expected one of {', '.join(SANDBOXES)}")
        self.runtime = runtime
        # Where `deploy` and `deploy_template` look for relative paths, in this order; empty: the working directory.
        self.folders: tuple[Path, ...] = ()
        self._sandbox = sandbox
        self._region = region
        self._server: ServerProcess | None = None
        self._ready: Api | None = None

    def __enter__(self) -> "Cloud":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    # Its life.

    def start(self) -> None:
        """Returns when Sesame serves requests; idempotent. Raises `CloudError` with its output if it does not start."""
        self._api()

    def start_soon(self) -> None:
        """Starts the process without waiting for it."""
        self._process()

    def stop(self) -> None:
        """Ends Sesame and returns when its processes, files and ports are gone. Idempotent."""
        server, self._server, self._ready = self._server, None, None
        if server is not None:
            server.close()

    def stop_soon(self) -> None:
        """Begins to end Sesame without waiting; `stop` must still be called."""
        if self._server is not None:
            self._server.close_soon()

    @property
    def ready(self) -> bool:
        """Whether Sesame has been started and serves requests."""
        return self._ready is not None

    @property
    def pid(self) -> int:
        """The process id of Sesame's server."""
        return self._process().pid

    def reset(self) -> None:
        """Removes everything created since the start, ends running calls, and resets the clock."""
        if self._server is not None:
            self._server.ask("reset")
            self._server.new_log()

    def settle(self) -> None:
        """Returns when all due work is done: asynchronous calls, object events, timers.

        An asynchronous call that finds no instance, or whose instance does not start, is waited for during a few
        attempts; after that, a warning names it. Retries of failed functions happen only when `clock.advance` reaches
        their time.
        """
        for waits in self._process().ask("settle"):
            warnings.warn(waits, stacklevel=2)

    @property
    def clock(self) -> Clock:
        return Clock(self._process())

    # Where it is.

    @property
    def endpoint(self) -> str:
        """The address of the Function Compute API."""
        return str(self._hello()["fc"])

    @property
    def oss_endpoint(self) -> str:
        return str(self._hello()["oss"])

    @property
    def sls_endpoint(self) -> str:
        """The address of the Log Service; docs/log-service.md explains how its SDKs reach it."""
        return str(self._hello()["sls"])

    @property
    def sts_endpoint(self) -> str:
        """The address of STS."""
        return str(self._hello()["sts"])

    @property
    def account_id(self) -> str:
        return str(self._hello()["account_id"])

    @property
    def region(self) -> str:
        return str(self._hello()["region"])

    @property
    def sandbox(self) -> str:
        """How functions are isolated: jail or plain."""
        return str(self._hello()["sandbox"])

    @property
    def runtimes(self) -> list[str]:
        """The runtimes that have an interpreter on this machine."""
        return list(self._hello()["runtimes"])

    @property
    def notices(self) -> list[str]:
        """What this machine lacks, such as the packages that the cloud adds to a runtime, and the next step."""
        return list(self._hello()["notices"])

    @property
    def access_key_id(self) -> str:
        return str(self._hello()["access_key_id"])

    @property
    def access_key_secret(self) -> str:
        return str(self._hello()["access_key_secret"])

    def environ(self) -> dict[str, str]:
        """The environment variables by which `sesame`, fun and the SDKs find a server, for programs of a test."""
        return {
            "FC_ENDPOINT": self.endpoint,
            "OSS_ENDPOINT": self.oss_endpoint,
            "SLS_ENDPOINT": log_service_endpoint(self.sls_endpoint),
            "SLS_PROXY": self.sls_endpoint,
            "STS_ENDPOINT": self.sts_endpoint,
            "ACCOUNT_ID": self.account_id,
            "ACCESS_KEY_ID": self.access_key_id,
            "ACCESS_KEY_SECRET": self.access_key_secret,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.access_key_secret,
            "REGION": self.region,
        }

    def fc_client(self, **options: Any) -> Any:
        """An `fc2.Client` of the package aliyun-fc2. Raises `CloudError` if the package is not installed."""
        keys = {"endpoint": self.endpoint, "accessKeyID": self.access_key_id, "accessKeySecret": self.access_key_secret}
        return _official("fc2", "aliyun-fc2").Client(**keys, **options)

    def oss_bucket(self, name: str, **options: Any) -> Any:
        """An `oss2.Bucket` of the package oss2; creates the bucket if it does not exist."""
        oss2 = _official("oss2", "oss2")
        self.bucket(name)
        return oss2.Bucket(oss2.Auth(self.access_key_id, self.access_key_secret), self.oss_endpoint, name, **options)

    # What it runs and keeps.

    @overload
    def function(self, handler: Callable[..., Any], **options: Unpack[FunctionOptions]) -> Function: ...
    @overload
    def function(self, **options: Unpack[FunctionOptions]) -> Callable[[Callable[..., Any]], Function]: ...
    def function(self, handler: Any = None, **options: Unpack[FunctionOptions]) -> Any:
        """Deploys a function of the test file; usable as a decorator, with or without options.

        The imports, functions and constants of the file that the function uses are deployed with it. Raises
        `CloudError` for a function that uses variables of the enclosing test.
        """
        if handler is None:
            return lambda given: self._deploy_handler(given, options)
        return self._deploy_handler(handler, options)

    def deploy(self, path: str | os.PathLike[str], handler: str = "", **options: Unpack[FunctionOptions]) -> Function:
        """Deploys a folder or a Python file; finds an unambiguous handler in it, as `sesame deploy` does.

        A template with one function is deployed as it is.
        """
        place = self._found(path)
        if place.suffix in (".yml", ".yaml"):
            return self._only(place, {"handler": handler} if handler else {}, options)
        from sesame.testing import deployment

        runtime = self.runtime_of(options) if options.get("runtime") or self.runtime else None
        found = deployment.Found(place, handler, runtime, self.runtimes)
        return deployment.folder(self, self._api(), found, options)

    def deploy_template(
        self, path: str | os.PathLike[str], parameters: Mapping[str, str] | None = None
    ) -> dict[str, Function]:
        """Deploys a template, or the folder that contains one; returns its functions by `service/function`."""
        from sesame.deploy.sources import Context
        from sesame.testing import templates

        context = Context(
            account_id=self.account_id,
            region=self.region,
            access_key_id=self.access_key_id,
            parameters=parameters or {},
        )
        return templates.deploy(self, self._api(), self._found(path), context)

    def get_function(self, name: str) -> Function:
        """A function that was deployed by other means; `name` is `service/function`."""
        service, slash, function = name.partition("/")
        if not (service and slash and function):
            raise CloudError(f"'{name}' does not name a function; expected SERVICE/FUNCTION")
        return Function(self, self._api(), service, function)

    def bucket(self, name: str) -> Bucket:
        """Creates the bucket if it does not exist."""
        objects = self._api().objects
        objects.make_bucket(name)
        return Bucket(objects, name)

    @property
    def invocations(self) -> list[Invocation]:
        """Every attempt to call a function since the last reset, in order."""
        return [decoded(record) for record in self._process().ask("records")]

    def new_server_log(self) -> str:
        """What Sesame itself has logged since the last call or the last reset."""
        return "" if self._server is None else self._server.new_log()

    def _only(self, place: Path, given: Mapping[str, Any], options: FunctionOptions) -> Function:
        given_names = [*given, *options]
        if given_names:
            raise CloudError(
                f"{place} is a template, which says by itself how it is deployed: leave out {', '.join(given_names)}"
            )
        functions = self.deploy_template(place)
        if len(functions) != 1:
            names = ", ".join(functions) or "none"
            raise CloudError(f"{place} has not one function but {names}: take them from deploy_template(…)")
        return next(iter(functions.values()))

    def _found(self, path: str | os.PathLike[str]) -> Path:
        """Raises `CloudError`, which lists the places searched, if the path is in none of them."""
        tried = [folder / path for folder in self.folders or (Path.cwd(),)]
        for place in tried:
            if place.exists():
                return place
        raise CloudError(
            f"{path} does not exist; looked for {' and '.join(map(str, dict.fromkeys(tried)))}: expected a folder, a "
            "Python file or a template"
        )

    def _deploy_handler(self, handler: Callable[..., Any], options: FunctionOptions) -> Function:
        from sesame.testing import deployment

        runtime = self.runtime_of(options)
        functions = [handler, *([options["initializer"]] if "initializer" in options else [])]
        source = source_of(functions, new_python=runtime not in ("python2.7", "python3"))
        given = deployment.Given(handler.__name__, runtime, source)
        return deployment.handler(self, self._api(), given, options)

    def runtime_of(self, options: FunctionOptions) -> str:
        """The runtime in the options, else the cloud's default, else the newest that has an interpreter."""
        said = options.get("runtime") or self.runtime
        runtime = said or next((each for each in RUNTIMES if each in self.runtimes), "")
        if runtime not in self.runtimes:
            raise CloudError(
                f"the runtime '{runtime}' has no interpreter here; there are {', '.join(self.runtimes) or 'none'}: "
                "`sesame runtimes` says how to get others"
            )
        return runtime

    def _process(self) -> ServerProcess:
        if self._server is None:
            self._server = ServerProcess(
                self._sandbox, self._region, [*([self.runtime] if self.runtime else []), *RUNTIMES]
            )
        return self._server

    def _hello(self) -> dict[str, Any]:
        return self._process().hello()

    def _api(self) -> "Api":
        if self._ready is None:
            server = self._process()
            # Runs while the server starts.
            from sesame.testing.api import Api

            self._ready = Api(server.hello())
        return self._ready


def _official(module: str, package: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise CloudError(f"the official client {module} is not installed: pip install {package}") from error
