"""A scripted authorization service: what it was asked, and answers by gRPC or HTTP."""

from __future__ import annotations

import base64
from typing import Any

from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf import json_format

import sidecar.config.messages  # noqa: F401 - before the API's modules: it completes them

from .http2 import Fields
from .lab import Session
from .upstream import H2Call

__all__ = ["GOOD", "HEAD", "asked", "frame", "said", "serve_checks"]

HEAD: Fields = [(":status", "200"), ("content-type", "application/grpc")]
GOOD: Fields = [("grpc-status", "0")]


def frame(data: bytes) -> bytes:
    """One message of gRPC with its prefix."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def said(answer: dict[str, Any]) -> bytes:
    """A CheckResponse, from its fields as JSON has them."""
    return json_format.ParseDict(answer, external_auth_pb2.CheckResponse()).SerializeToString()


def asked(message: bytes) -> dict[str, Any]:
    """A CheckRequest as it is shown: without what differs from run to run, headers sorted."""
    found = json_format.MessageToDict(
        external_auth_pb2.CheckRequest.FromString(message), preserving_proto_field_name=True
    )["attributes"]
    for peer in ("source", "destination"):
        socket = found.get(peer, {}).get("address", {}).get("socket_address")
        if socket is not None:
            socket["port_value"] = "<port>" if socket.get("port_value") else "none"
        if "certificate" in found.get(peer, {}):
            found[peer]["certificate"] = f"<{found[peer]['certificate'][:30]}>"
    request = found.get("request", {})
    if "time" in request:
        request["time"] = "<time>"
    http = request.get("http", {})
    if "id" in http:
        http["id"] = "<number>" if http["id"].isdigit() else http["id"]
    for each in http.get("header_map", {}).get("headers", ()):
        each["raw_value"] = base64.b64decode(each["raw_value"]).decode("latin-1")
    if "headers" in http:
        http["headers"] = dict(sorted(http["headers"].items()))
    return dict(found)


def serve_checks(s: Session, *answers: dict[str, Any], name: str = "authz", sees: bool = True) -> None:
    """Let the service answer with the next of these (the last one again and again); see what it is asked."""
    left = list(answers)

    async def script(call: H2Call) -> None:
        body = await call.body()
        if sees:
            s.see("asked", asked(body[5:]))
        answer = left.pop(0) if len(left) > 1 else left[0]
        call.stream.body.clear()
        await call.answer(HEAD, frame(said(answer)), GOOD)

    s.upstream(name).h2_script = script
