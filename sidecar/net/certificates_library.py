"""The modules of ``cryptography`` that TLS reads certificates with, imported when the first of them is asked.

They take 9 MB and a tenth of a start, and a proxy without TLS never asks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["ec", "ocsp", "pkcs12", "rsa", "serialization", "x509"]


class _Deferred:
    """Stands in for a module."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509 import ocsp
else:
    x509 = _Deferred("cryptography.x509")
    serialization = _Deferred("cryptography.hazmat.primitives.serialization")
    ec = _Deferred("cryptography.hazmat.primitives.asymmetric.ec")
    rsa = _Deferred("cryptography.hazmat.primitives.asymmetric.rsa")
    pkcs12 = _Deferred("cryptography.hazmat.primitives.serialization.pkcs12")
    ocsp = _Deferred("cryptography.x509.ocsp")
