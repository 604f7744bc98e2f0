"""``/certs``: the certificates of every TLS context (``envoy.admin.v3.Certificates``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

__all__ = ["certificates_json", "days_until_first_expires", "seconds_until_first_staple_expires"]

_FIELDS = {"DNS": "dns", "URI": "uri", "IP_ADDRESS": "ip_address"}
#: What the gauge says where there is no certificate.
_NEVER = 2**32 - 1


def certificates_json(contexts: Iterable[Any]) -> dict[str, Any]:
    """``contexts`` are :class:`sidecar.net.tls_context.ServerContext` and ClientContext."""
    return {
        "certificates": [
            {
                "ca_cert": [_details(each) for each in context.authorities()],
                "cert_chain": [_details(each) for each in context.own_certificates()],
            }
            for context in contexts
        ]
    }


def days_until_first_expires(contexts: Iterable[Any]) -> int:
    """Days until the first certificate of any context expires; 0 for one that has."""
    found = [
        _days(each.facts)
        for context in contexts
        for each in (*context.authorities(), *context.own_certificates())
    ]
    return min(found, default=_NEVER)


def seconds_until_first_staple_expires(contexts: Iterable[Any]) -> int:
    """Seconds until the first OCSP response expires; 0 where there is none."""
    staples = [each.staple for context in contexts for each in context.own_certificates()]
    return min((staple.seconds_left() for staple in staples if staple is not None), default=0)


def _days(certificate: Any) -> int:
    return max(0, int((certificate.expires_at - datetime.now(UTC)).total_seconds() // 86400))


def _details(shown: Any) -> dict[str, Any]:
    certificate = shown.facts
    order = ("DNS", "URI", "IP_ADDRESS")
    details = {
        "path": shown.path,
        "serial_number": certificate.serial,
        "subject_alt_names": [{_FIELDS[kind]: value} for kind in order for value in certificate.sans(kind)],
        "days_until_expiration": str(_days(certificate)),
        "valid_from": _time(certificate.valid_from),
        "expiration_time": _time(certificate.expires_at),
    }
    staple = shown.staple
    if staple is not None:
        details["ocsp_details"] = {
            "valid_from": _time(staple.valid_from),
            "expiration": _time(staple.expires_at or datetime.now(UTC)),
        }
    return details


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
