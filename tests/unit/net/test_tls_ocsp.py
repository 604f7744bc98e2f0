"""OCSP responses and policies without a connection."""

from __future__ import annotations

import datetime

import pytest

from sidecar.net.tls_certificate import load_identity
from sidecar.net.tls_ocsp import LENIENT, MUST, STRICT, Stapler, read_staple
from tests.support.pki import Authority

ROOT = Authority("root")
LEAF = ROOT.leaf("a.example", "DNS:a.example")
OTHER = ROOT.leaf("b.example", "DNS:b.example")
PAST = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)


def stapler(policy: int, staple: bytes) -> Stapler:
    identities = [load_identity(each.cert_pem, each.key_pem, staple=staple) for each in (LEAF,)]
    return Stapler(identities, policy)


GOOD, OLD, ENDLESS = (ROOT.ocsp_response(LEAF, end=end) for end in (PAST.replace(year=2040), PAST, None))


@pytest.mark.parametrize(
    ("policy", "staple", "is_let_in", "is_handed_out"),
    [
        (LENIENT, GOOD, True, True),
        (LENIENT, OLD, True, False),
        (LENIENT, ENDLESS, True, False),
        (LENIENT, b"", True, False),
        (STRICT, GOOD, True, True),
        (STRICT, OLD, False, False),
        (STRICT, b"", True, False),
        (MUST, GOOD, True, True),
        (MUST, OLD, False, False),
    ],
)
def test_policy_decides_about_a_client_that_asks(
    policy: int, staple: bytes, is_let_in: bool, is_handed_out: bool
) -> None:
    assert stapler(policy, staple).choose(b"") == (is_let_in, staple if is_handed_out else b"")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, 200])
def test_response_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="OCSP Response is not well-formed"):
        read_staple(GOOD[:cut], LEAF.certificate)


def test_response_for_another_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="does not match"):
        read_staple(GOOD, OTHER.certificate)


def test_missing_response_is_refused_where_there_must_be_one() -> None:
    with pytest.raises(ValueError, match="missing from TLS context"):
        stapler(MUST, b"")
