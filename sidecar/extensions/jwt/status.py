"""What may be wrong with a JSON Web Token, or with the keys for it: numbers and texts as Envoy has them.

The numbers stand in ``failed_status_in_metadata``, the texts in bodies, details and metadata.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["OK", "Status"]


class Status(IntEnum):
    """Why a token, or a set of keys, was not taken; ``text`` are Envoy's words for it."""

    text: str

    def __new__(cls, number: int, text: str) -> Status:
        made = int.__new__(cls, number)
        made._value_ = number
        made.text = text
        return made

    Ok = 0, "OK"
    JwtMissed = 1, "Jwt is missing"
    JwtNotYetValid = 2, "Jwt not yet valid"
    JwtExpired = 3, "Jwt is expired"
    JwtBadFormat = 4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    JwtHeaderParseErrorBadBase64 = 5, "Jwt header is an invalid Base64url encoded"
    JwtHeaderParseErrorBadJson = 6, "Jwt header is an invalid JSON"
    JwtHeaderBadAlg = 7, "Jwt header [alg] field is required and must be a string"
    JwtHeaderNotImplementedAlg = 8, "Jwt header [alg] is not supported"
    JwtHeaderBadKid = 9, "Jwt header [kid] field is not a string"
    JwtPayloadParseErrorBadBase64 = 10, "Jwt payload is an invalid Base64url encoded"
    JwtPayloadParseErrorBadJson = 11, "Jwt payload is an invalid JSON"
    JwtPayloadParseErrorIssNotString = 12, "Jwt payload [iss] field is not a string"
    JwtPayloadParseErrorSubNotString = 13, "Jwt payload [sub] field is not a string"
    JwtPayloadParseErrorIatNotInteger = 14, "Jwt payload [iat] field is not an integer"
    JwtPayloadParseErrorIatOutOfRange = 15, "Jwt payload [iat] field is not a positive 64 bit integer"
    JwtPayloadParseErrorNbfNotInteger = 16, "Jwt payload [nbf] field is not an integer"
    JwtPayloadParseErrorNbfOutOfRange = 17, "Jwt payload [nbf] field is not a positive 64 bit integer"
    JwtPayloadParseErrorExpNotInteger = 18, "Jwt payload [exp] field is not an integer"
    JwtPayloadParseErrorExpOutOfRange = 19, "Jwt payload [exp] field is not a positive 64 bit integer"
    JwtPayloadParseErrorJtiNotString = 20, "Jwt payload [jti] field is not a string"
    JwtPayloadParseErrorAudNotString = 21, "Jwt payload [aud] field is not a string or string list"
    JwtSignatureParseErrorBadBase64 = 22, "Jwt signature is an invalid Base64url encoded"
    JwtEd25519SignatureWrongLength = 23, "Jwt ED25519 signature is wrong length"
    JwtUnknownIssuer = 24, "Jwt issuer is not configured"
    JwtAudienceNotAllowed = 25, "Audiences in Jwt are not allowed"
    JwtVerificationFail = 26, "Jwt verification fails"
    JwtMultipleTokens = 27, "Found multiple Jwt tokens"
    JwksParseError = 28, "Jwks is an invalid JSON"
    JwksNoKeys = 29, "Jwks does not have [keys] field"
    JwksBadKeys = 30, "[keys] in Jwks is not an array"
    JwksNoValidKeys = 31, "Jwks doesn't have any valid public key"
    JwksKidAlgMismatch = 32, "Jwks doesn't have key to match kid or alg from Jwt"
    JwksRsaParseError = 33, "Jwks RSA [n] or [e] field is missing or has a parse error"
    JwksEcCreateKeyFail = 34, "Jwks EC create key fail"
    JwksEcXorYBadBase64 = 35, "Jwks EC [x] or [y] field is an invalid Base64."
    JwksEcParseError = 36, "Jwks EC [x] and [y] fields have a parse error."
    JwksOctBadBase64 = 37, "Jwks Oct key is an invalid Base64"
    JwksOKPXBadBase64 = 38, "Jwks OKP [x] field is an invalid Base64."
    JwksOKPXWrongLength = 39, "Jwks OKP [x] field is wrong length."
    JwksFetchFail = 40, "Jwks remote fetch is failed"
    JwksMissingKty = 41, "[kty] is missing in [keys]"
    JwksBadKty = 42, "[kty] is bad in [keys]"
    JwksNotImplementedKty = 43, "[kty] is not supported in [keys]"
    JwksRSAKeyBadAlg = 44, "[alg] is not started with [RS] or [PS] for an RSA key"
    JwksRSAKeyMissingN = 45, "[n] field is missing for a RSA key"
    JwksRSAKeyBadN = 46, "[n] field is not string for a RSA key"
    JwksRSAKeyMissingE = 47, "[e] field is missing for a RSA key"
    JwksRSAKeyBadE = 48, "[e] field is not string for a RSA key"
    JwksECKeyBadAlg = 49, "[alg] is not started with [ES] for an EC key"
    JwksECKeyBadCrv = 50, "[crv] field is not string for an EC key"
    JwksECKeyAlgOrCrvUnsupported = 51, "[crv] or [alg] field is not supported for an EC key"
    JwksECKeyAlgNotCompatibleWithCrv = 52, "[crv] field specified is not compatible with [alg] for an EC key"
    JwksECKeyMissingX = 53, "[x] field is missing for an EC key"
    JwksECKeyBadX = 54, "[x] field is not string for an EC key"
    JwksECKeyMissingY = 55, "[y] field is missing for an EC key"
    JwksECKeyBadY = 56, "[y] field is not string for an EC key"
    JwksHMACKeyBadAlg = 57, "[alg] does not start with [HS] for an HMAC key"
    JwksHMACKeyMissingK = 58, "[k] field is missing for an HMAC key"
    JwksHMACKeyBadK = 59, "[k] field is not string for an HMAC key"
    JwksOKPKeyBadAlg = 60, "[alg] is not [EdDSA] for an OKP key"
    JwksOKPKeyMissingCrv = 61, "[crv] field is missing for an OKP key"
    JwksOKPKeyBadCrv = 62, "[crv] field is not string for an OKP key"
    JwksOKPKeyCrvUnsupported = 63, "[crv] field is not supported for an OKP key"
    JwksOKPKeyMissingX = 64, "[x] field is missing for an OKP key"
    JwksOKPKeyBadX = 65, "[x] field is not string for an OKP key"
    JwksX509BioWriteError = 66, "X509 parse pubkey internal fails: memory allocation"
    JwksX509ParseError = 67, "X509 parse pubkey fails"
    JwksX509GetPubkeyError = 68, "X509 parse pubkey internal fails: get pubkey"


#: The one that every good token has: a name of a module is found in a tenth of the time (Python 3.11).
OK: Final = Status.Ok
