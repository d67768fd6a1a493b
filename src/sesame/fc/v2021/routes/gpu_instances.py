"""The operations on GPU instances, which are machines of the cloud: Sesame has none.

Mounted by `fc.v2021.version`.
"""

from starlette.requests import Request
from starlette.responses import Response

from sesame.fc import requests
from sesame.fc.refusals import ApiError
from sesame.fc.requests import Handler
from sesame.fc.v2021.inputs import GpuInstanceInput


class GpuInstanceRoutes:
    def handlers(self) -> dict[str, Handler]:
        return {"ClaimGPUInstance": self._claim, "ReleaseGPUInstance": self._release}

    async def _claim(self, request: Request) -> Response:
        wanted = await requests.body(request, GpuInstanceInput)
        text = (
            f"a GPU instance of the type '{wanted.instance_type[:64]}' cannot be claimed: it is a machine of the "
            "cloud, and this server has none; functions use the processors of the machine that it runs on"
        )
        raise ApiError(400, "OperationNotSupported", text)

    async def _release(self, request: Request) -> Response:
        name = requests.name(request, "instance")
        text = f"GPU instance '{name[:64]}' does not exist: this server has none"
        raise ApiError(404, "GPUInstanceNotFound", text)
