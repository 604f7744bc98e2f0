"""Hold an image to work: run by its own Python, with nothing but what is in it.

``chroot ROOT /opt/sidecar/bin/python - < image_check.py``.  Imports every module of the proxy,
resolves every extension, and lets each library do its work once.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import ssl
import sys
from typing import Any

#: Importing it runs the proxy.
_LEFT_OUT = ("sidecar.__main__",)


def modules() -> list[str]:
    """Every module of the proxy, imported."""
    found = []
    for package in ("sidecar", "wasm_abi"):
        root = importlib.import_module(package)
        for item in pkgutil.walk_packages(root.__path__, f"{package}."):
            if item.name not in _LEFT_OUT:
                importlib.import_module(item.name)
                found.append(item.name)
    return found


def expressions() -> None:
    """CEL, with the extension of strings; RE2."""
    import re2
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_strings

    environment = cel.NewEnv(extensions=[ext_strings.ExtStrings()])
    assert environment is not None
    assert re2.compile("a+").fullmatch("aaa")


def compression() -> None:
    """gzip, brotli and zstd, there and back."""
    import zlib

    import brotli
    import zstandard

    data = b"compressible " * 100
    assert zlib.decompress(zlib.compress(data)) == data
    assert brotli.decompress(brotli.compress(data)) == data
    assert zstandard.backend == "cext"
    assert zstandard.ZstdDecompressor().decompress(zstandard.ZstdCompressor().compress(data)) == data


def scripts_and_guests() -> None:
    """Lua and Wasm."""
    import wasmtime
    from lupa.luajit21 import LuaRuntime

    assert LuaRuntime().eval("1 + 1") == 2
    store = wasmtime.Store()
    text = '(module (func (export "f") (result i32) i32.const 42))'
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, text), [])
    exported: Any = instance.exports(store)["f"]
    assert exported(store) == 42


def security() -> None:
    """TLS, certificates, tokens."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    ssl.create_default_context()
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"sub": "it"}, key, algorithm="ES256")
    assert jwt.decode(token, key.public_key(), algorithms=["ES256"]) == {"sub": "it"}
    assert ed25519.Ed25519PrivateKey.generate()
    assert rsa


def text() -> None:
    """YAML, JSON patches, names of international domains, hashes."""
    import xxhash
    import yaml
    from ruamel.yaml import YAML

    assert yaml.load("a: [1]", Loader=yaml.CSafeLoader) == {"a": [1]}
    assert YAML()
    assert "ä.example".encode("idna")
    assert xxhash.xxh64_intdigest(b"")


def protocols() -> None:
    """What parses the wire, and messages: of Envoy, of OTLP, of gRPC services."""
    import h2.connection
    import httptools
    import jh2
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    assert h2.connection.H2Connection()
    assert httptools.HttpRequestParser
    assert jh2
    for module in (logs_service_pb2, metrics_service_pb2, trace_service_pb2):
        assert module.DESCRIPTOR


def extensions() -> int:
    """Every extension of the catalog, resolved: its module, and the message of its configuration."""
    from sidecar.config.messages import message_class
    from sidecar.extensions import catalog

    catalog.make_registry()
    for row in catalog._ROWS:
        assert catalog._load(row.place), row
        assert message_class(row.config_type), row
    return len(catalog._ROWS)


def main() -> None:
    names = modules()
    # Where a shared library stands beside a module, Python takes that in its place.
    compiled = sum(not str(sys.modules[name].__file__).endswith((".py", ".pyc")) for name in names)
    is_wanted = os.environ.get("SIDECAR_COMPILE") == "1"
    assert bool(compiled) or not is_wanted, "nothing of it is compiled"
    for check in (expressions, compression, scripts_and_guests, security, text, protocols):
        check()
    sys.stdout.write(f"{len(names)} modules, {compiled} of them compiled, {extensions()} extensions\n")


if __name__ == "__main__":
    main()
