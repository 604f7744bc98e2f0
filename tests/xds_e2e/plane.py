"""The control plane's process (``main.go``), and how a test speaks with it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message

from sidecar.config.messages import message_class

__all__ = ["CannotBuild", "Plane", "pack", "plane_binary"]

#: What resources may hold in an Any: found by name once their modules are there.
_INNER = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
)


class CannotBuild(Exception):
    """There is no control plane here; the message says why."""


@cache
def plane_binary() -> Path:
    """The program, built if need be.  Raises: CannotBuild."""
    # Of the checkout, from wherever this is linked: what it builds is kept there.
    script = Path(__file__).resolve().parents[2] / "scripts" / "build_xds_e2e.sh"
    command = [str(script), *(["--install"] if os.environ.get("CI") else [])]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if built.returncode:
        raise CannotBuild(built.stderr.strip())
    return Path(built.stdout.strip())


@cache
def _class(name: str) -> type[Message]:
    for inner in _INNER:
        message_class(inner)
    cls = message_class(name)
    assert cls is not None, name
    return cls


def pack(name: str, resource: dict[str, Any]) -> any_pb2.Any:
    """A resource of the message of that name, from JSON; one object for all that are alike."""
    return _pack(name, json.dumps(resource))


@lru_cache(4096)
def _pack(name: str, text: str) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(json_format.ParseDict(json.loads(text), _class(name)()), deterministic=True)
    return packed


class Plane:
    """One running control plane.  Raises: CannotBuild."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [plane_binary()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._popen.stdout is not None
        self.port, control = map(int, self._popen.stdout.readline().split())
        self._client = http.client.HTTPConnection("127.0.0.1", control, timeout=60)

    def __enter__(self) -> Plane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(5)
        self._popen.stdout.close()

    def set(self, nodes: Iterable[str], version: str, resources: Iterable[any_pb2.Any]) -> None:
        """These are all resources of these nodes from now on."""
        response: Any = _class("envoy.service.discovery.v3.DiscoveryResponse")()
        response.version_info = version
        response.resources.extend(resources)
        self._ask("POST", f"/snapshot?nodes={','.join(nodes)}", response.SerializeToString())

    def settle(self, *nodes: str) -> None:
        """Wait until all took or refused what there is.  Raises: RuntimeError after a minute."""
        for is_last in (False, False, True):  # the control plane waits 20 s
            try:
                self._ask("GET", f"/settled?nodes={','.join(nodes)}")
            except RuntimeError:
                if is_last:
                    raise
            else:
                return

    def state(self, node: str) -> dict[str, dict[str, Any]]:
        """Of each type what the node was sent and what it said."""
        found: dict[str, dict[str, Any]] | None = json.loads(self._ask("GET", f"/state?node={node}"))
        return {name.rpartition(".")[2]: each for name, each in (found or {}).items()}

    def disconnect(self) -> None:
        """End all streams."""
        self._ask("POST", "/disconnect")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self._client.request(method, path, body)
        answer = self._client.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {data.decode(errors='replace').strip()}")
        return data
