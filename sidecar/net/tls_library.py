"""What OpenSSL can do and Python's :mod:`ssl` does not offer: calls into the very library that ``ssl`` uses.

``ssl`` moves the bytes; this module sets what it has no name for (a verifier of our own, groups, signature
algorithms, session tickets) and asks what it does not tell (the group, the peer's signature).  The symbols
are found through ``_ssl``'s own file, so there is one OpenSSL in the process; the pointers are the first
fields of CPython's objects (``PySSLContext.ctx``, ``PySSLSocket.ssl``), and :func:`library` compares what is
read through them with what ``ssl`` says before anybody relies on it.  Where that fails there is no library,
and whoever needs one refuses the configuration by name.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["Library", "library"]

_CALLBACK = ctypes.CFUNCTYPE(None)
_STATUS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_VERIFY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_CLIENT_HELLO = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

_VERSION_1_3 = 0x304
_KEY_TRANSPORT = 1037  # NID_kx_rsa

# SSL_CTX_ctrl and SSL_ctrl (openssl/ssl.h)
_SET_MODE = 33
_SET_SESS_CACHE_MODE = 44
_SET_TICKET_KEYS = 59
_SET_STATUS_CALLBACK = 63
_SET_STATUS_RESPONSE = 71
_SET_GROUPS_LIST = 92
_SET_SIGALGS_LIST = 98
_SET_CLIENT_CERT_TYPES = 104
_GET_PEER_SIGNATURE_NID = 108
_GET_NEGOTIATED_GROUP = 134
_CACHE_OFF = 0
_NO_AUTO_CHAIN = 8
#: ClientCertificateType of RFC 5246 §7.4.4 and RFC 8422 §5.5: rsa_sign, ecdsa_sign.
_CERTIFICATE_TYPES = bytes([1, 64])
#: TLS extensions
_STATUS_REQUEST = 5
_SUPPORTED_VERSIONS = 43
#: What callbacks answer (openssl/ssl.h, tls1.h), and an alert.
_HELLO_ERROR, _HELLO_SUCCESS = 0, 1
_TLSEXT_OK, _TLSEXT_FATAL, _TLSEXT_NOACK = 0, 2, 3
_HANDSHAKE_FAILURE = 40
_CACHE_SERVER = 2

_POINTER = ctypes.c_void_p
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "SSL_CTX_get_options": (ctypes.c_uint64, (_POINTER,)),
    "SSL_get_SSL_CTX": (_POINTER, (_POINTER,)),
    "SSL_CTX_set_cert_verify_callback": (None, (_POINTER, _VERIFY, _POINTER)),
    "SSL_CTX_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, ctypes.c_long, _POINTER)),
    "SSL_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, ctypes.c_long, _POINTER)),
    "CRYPTO_get_ex_new_index": (ctypes.c_int, (ctypes.c_int, ctypes.c_long, *(_POINTER,) * 4)),
    "SSL_get_ex_data": (_POINTER, (_POINTER, ctypes.c_int)),
    "SSL_set_ex_data": (ctypes.c_int, (_POINTER, ctypes.c_int, _POINTER)),
    "SSL_CTX_callback_ctrl": (ctypes.c_long, (_POINTER, ctypes.c_int, _CALLBACK)),
    "SSL_CTX_set_ciphersuites": (ctypes.c_int, (_POINTER, ctypes.c_char_p)),
    "SSL_CTX_set_client_hello_cb": (None, (_POINTER, _CLIENT_HELLO, _POINTER)),
    "SSL_client_hello_get0_ciphers": (ctypes.c_size_t, (_POINTER, ctypes.POINTER(_POINTER))),
    "SSL_client_hello_get0_ext": (
        ctypes.c_int,
        (_POINTER, ctypes.c_uint, ctypes.POINTER(_POINTER), ctypes.POINTER(ctypes.c_size_t)),
    ),
    "SSL_set_options": (ctypes.c_uint64, (_POINTER, ctypes.c_uint64)),
    "SSL_shutdown": (ctypes.c_int, (_POINTER,)),
    "ERR_clear_error": (None, ()),
    "SSL_set_cipher_list": (ctypes.c_int, (_POINTER, ctypes.c_char_p)),
    "SSL_CTX_set_timeout": (ctypes.c_long, (_POINTER, ctypes.c_long)),
    "SSL_CTX_set_verify_depth": (None, (_POINTER, ctypes.c_int)),
    "SSL_CTX_set_session_id_context": (ctypes.c_int, (_POINTER, ctypes.c_char_p, ctypes.c_uint)),
    "SSL_get_peer_signature_type_nid": (ctypes.c_int, (_POINTER, ctypes.POINTER(ctypes.c_int))),
    "SSL_load_client_CA_file": (_POINTER, (ctypes.c_char_p,)),
    "SSL_CTX_set_client_CA_list": (None, (_POINTER, _POINTER)),
    "SSL_get_session": (_POINTER, (_POINTER,)),
    "SSL_SESSION_get_id": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_uint))),
    "X509_verify_cert": (ctypes.c_int, (_POINTER,)),
    "X509_verify_cert_error_string": (ctypes.c_char_p, (ctypes.c_long,)),
    "X509_STORE_CTX_get_error": (ctypes.c_int, (_POINTER,)),
    "X509_STORE_CTX_get_error_depth": (ctypes.c_int, (_POINTER,)),
    "X509_STORE_CTX_set_error": (None, (_POINTER, ctypes.c_int)),
    "X509_STORE_CTX_get0_cert": (_POINTER, (_POINTER,)),
    "X509_STORE_CTX_get0_untrusted": (_POINTER, (_POINTER,)),
    "OPENSSL_sk_num": (ctypes.c_int, (_POINTER,)),
    "OPENSSL_sk_value": (_POINTER, (_POINTER, ctypes.c_int)),
    "i2d_X509": (ctypes.c_int, (_POINTER, _POINTER)),
    "SSL_get_certificate": (_POINTER, (_POINTER,)),
    "SSL_get_ex_data_X509_STORE_CTX_idx": (ctypes.c_int, ()),
    "X509_STORE_CTX_get_ex_data": (_POINTER, (_POINTER, ctypes.c_int)),
    "SSL_version": (ctypes.c_int, (_POINTER,)),
    "SSL_get_pending_cipher": (_POINTER, (_POINTER,)),
    "SSL_CIPHER_get_kx_nid": (ctypes.c_int, (_POINTER,)),
    "SSL_CTX_get_cert_store": (_POINTER, (_POINTER,)),
    "X509_STORE_CTX_new": (_POINTER, ()),
    "X509_STORE_CTX_free": (None, (_POINTER,)),
    "X509_STORE_CTX_init": (ctypes.c_int, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "X509_STORE_CTX_set_flags": (None, (_POINTER, ctypes.c_ulong)),
    "CRYPTO_malloc": (_POINTER, (ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int)),
}


class Library:
    """The calls that are used, typed."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        """Raises: AttributeError when a symbol is missing."""
        self._call: dict[str, Any] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(handle, name)
            function.restype = result
            function.argtypes = arguments
            self._call[name] = function
        # What every handshake needs is made once; there is one thread.
        self._get_extension = self._call["SSL_client_hello_get0_ext"]
        self._at = ctypes.pointer(_POINTER())
        self._size = ctypes.pointer(ctypes.c_size_t())
        #: Where a connection has a mark of ours (CRYPTO_EX_INDEX_SSL is 0).
        self._mark = self._call["CRYPTO_get_ex_new_index"](0, 0, None, None, None, None)

    def is_sound(self) -> bool:
        """Whether the objects of ``ssl`` are laid out as this module takes them to be."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        get = self._call["SSL_CTX_get_options"]
        if get(_context(context)) != context.options & 0xFFFFFFFFFFFFFFFF:
            return False
        context.options |= ssl.OP_NO_TICKET
        pointer = _context(context)
        if get(pointer) != context.options & 0xFFFFFFFFFFFFFFFF:
            return False
        tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
        return bool(self._call["SSL_get_SSL_CTX"](_connection(tls)) == pointer)

    # -- contexts ---------------------------------------------------------------------------------
    def set_verifier(self, context: ssl.SSLContext, verify: Callable[[int], bool]) -> object:
        """Let ``verify(store_context)`` judge the peer's chain; the result must live as long as ``context``.

        It is called inside ``do_handshake`` and must not raise.
        """

        def callback(store: int, _: Any) -> int:
            return int(verify(store))

        function = _VERIFY(callback)
        self._call["SSL_CTX_set_cert_verify_callback"](_context(context), function, None)
        return function

    def set_groups(self, context: ssl.SSLContext, names: str) -> bool:
        """Offer these groups for the key exchange, joined by colons; False when one is unknown."""
        return self._control(context, _SET_GROUPS_LIST, names)

    def set_signature_algorithms(self, context: ssl.SSLContext, names: str) -> bool:
        """Accept these signatures, joined by colons; False when one is unknown."""
        return self._control(context, _SET_SIGALGS_LIST, names)

    def _control(self, context: ssl.SSLContext, command: int, text: str) -> bool:
        return bool(self._call["SSL_CTX_ctrl"](_context(context), command, 0, text.encode()) == 1)

    def set_ciphersuites(self, context: ssl.SSLContext, names: str) -> bool:
        """The suites of TLS 1.3 in the order of preference."""
        return bool(self._call["SSL_CTX_set_ciphersuites"](_context(context), names.encode()) == 1)

    def send_as_configured(self, context: ssl.SSLContext) -> None:
        """Show peers the chain that was loaded, and no certificates that are found among the trusted ones."""
        self._call["SSL_CTX_ctrl"](_context(context), _SET_MODE, _NO_AUTO_CHAIN, None)

    def set_timeout(self, context: ssl.SSLContext, seconds: int) -> None:
        """How long a session can be resumed."""
        self._call["SSL_CTX_set_timeout"](_context(context), seconds)

    def set_verify_depth(self, context: ssl.SSLContext, depth: int) -> None:
        self._call["SSL_CTX_set_verify_depth"](_context(context), depth)

    def set_session_context(self, context: ssl.SSLContext, identity: bytes) -> None:
        """Whose sessions these are: at most 32 bytes."""
        self._call["SSL_CTX_set_session_id_context"](_context(context), identity, len(identity))

    def set_ticket_key(self, context: ssl.SSLContext, key: bytes) -> bool:
        """The 80 bytes that session tickets are sealed with."""
        return bool(self._call["SSL_CTX_ctrl"](_context(context), _SET_TICKET_KEYS, len(key), key) == 1)

    def set_session_cache(self, context: ssl.SSLContext, *, is_on: bool) -> None:
        mode = _CACHE_SERVER if is_on else _CACHE_OFF
        self._call["SSL_CTX_ctrl"](_context(context), _SET_SESS_CACHE_MODE, mode, None)

    def set_client_ca_list(self, context: ssl.SSLContext, path: str) -> None:
        """Tell clients the names of the authorities in the PEM file at ``path``."""
        names = self._call["SSL_load_client_CA_file"](path.encode())
        if names:
            self._call["SSL_CTX_set_client_CA_list"](_context(context), names)

    def set_client_certificate_types(self, context: ssl.SSLContext) -> None:
        """Ask clients below TLS 1.3 for the kinds of certificates that BoringSSL knows: RSA and ECDSA."""
        self._call["SSL_CTX_ctrl"](
            _context(context), _SET_CLIENT_CERT_TYPES, len(_CERTIFICATE_TYPES), _CERTIFICATE_TYPES
        )

    def set_client_hello(self, context: ssl.SSLContext, look: Callable[[int], bool]) -> object:
        """Call ``look(connection)`` when a hello is read; the result must live as long as ``context``.

        It says whether the client is let in.
        """

        def callback(connection: int, alert: int, _argument: Any) -> int:
            if look(connection):
                return _HELLO_SUCCESS
            ctypes.c_int.from_address(alert).value = _HANDSHAKE_FAILURE
            return _HELLO_ERROR

        function = _CLIENT_HELLO(callback)
        self._call["SSL_CTX_set_client_hello_cb"](_context(context), function, None)
        return function

    def set_status(self, context: ssl.SSLContext, choose: Callable[[bytes], tuple[bool, bytes]]) -> object:
        """Call ``choose(certificate)`` for clients that want an OCSP response with it.

        It gives whether the client is let in, and the response, in DER; the result must live as long as
        ``context``.
        """

        def callback(connection: int, _argument: Any) -> int:
            is_let_in, response = choose(self._certificate(connection))
            if not is_let_in:
                return _TLSEXT_FATAL
            if not response:
                return _TLSEXT_NOACK
            self._set_staple(connection, response)
            return _TLSEXT_OK

        function = _STATUS(callback)
        self._call["SSL_CTX_callback_ctrl"](
            _context(context), _SET_STATUS_CALLBACK, ctypes.cast(function, _CALLBACK)
        )
        return function

    def wants_status(self, connection: int) -> bool:
        """Whether the client's hello has the extension ``status_request``; False for a second hello."""
        if not self._get_extension(connection, _STATUS_REQUEST, self._at, self._size):
            return False
        if self._call["SSL_get_ex_data"](connection, self._mark):
            return False
        self._call["SSL_set_ex_data"](connection, self._mark, 1)
        return True

    def offered_ciphers(self, connection: int) -> bytes:
        """The suites of the client's hello, two bytes each."""
        at = ctypes.c_void_p()
        size = self._call["SSL_client_hello_get0_ciphers"](connection, ctypes.byref(at))
        return ctypes.string_at(at.value, size) if at.value else b""

    def offered_versions(self, connection: int) -> bytes:
        """The extension ``supported_versions`` of the client's hello; empty where it has none."""
        at, size = self._at, self._size
        if not self._get_extension(connection, _SUPPORTED_VERSIONS, at, size):
            return b""
        return ctypes.string_at(at.contents.value or 0, size.contents.value)

    def prefer_server_ciphers(self, connection: int) -> None:
        """Let the suite of one connection be chosen by the order of ours."""
        self._call["SSL_set_options"](connection, ssl.OP_CIPHER_SERVER_PREFERENCE)

    def set_ciphers(self, connection: int, ciphers: str) -> None:
        """The suites of one connection below TLS 1.3, in their order."""
        self._call["SSL_set_cipher_list"](connection, ciphers.encode())

    # -- verifying --------------------------------------------------------------------------------
    def verify_chain(self, store: int) -> bool:
        """Judge the chain as OpenSSL does."""
        return bool(self._call["X509_verify_cert"](store) == 1)

    def verify_with(self, store: int, trusted: ssl.SSLContext) -> bool:
        """Judge the same chain, as a client's, by the roots of ``trusted`` alone."""
        call = self._call
        other = call["X509_STORE_CTX_new"]()
        try:
            untrusted = call["X509_STORE_CTX_get0_untrusted"](store)
            leaf = call["X509_STORE_CTX_get0_cert"](store)
            if not call["X509_STORE_CTX_init"](
                other, call["SSL_CTX_get_cert_store"](_context(trusted)), leaf, untrusted
            ):
                return False
            call["X509_STORE_CTX_set_flags"](other, int(trusted.verify_flags))
            return bool(call["X509_verify_cert"](other) == 1)
        finally:
            call["X509_STORE_CTX_free"](other)

    def exchange(self, store: int) -> tuple[bool, bool]:
        """Whether the connection whose peer is verified speaks TLS 1.3, and whether keys are sent by RSA."""
        call = self._call
        connection = call["X509_STORE_CTX_get_ex_data"](store, call["SSL_get_ex_data_X509_STORE_CTX_idx"]())
        if call["SSL_version"](connection) >= _VERSION_1_3:
            return True, False
        cipher = call["SSL_get_pending_cipher"](connection)
        return False, bool(cipher) and call["SSL_CIPHER_get_kx_nid"](cipher) == _KEY_TRANSPORT

    def error(self, store: int) -> tuple[int, str, int]:
        """The code of what is wrong with the chain, its words, and at which depth."""
        code = self._call["X509_STORE_CTX_get_error"](store)
        text = self._call["X509_verify_cert_error_string"](code).decode()
        return code, text, self._call["X509_STORE_CTX_get_error_depth"](store)

    def set_error(self, store: int, code: int) -> None:
        """The code decides the alert that the peer is sent."""
        self._call["X509_STORE_CTX_set_error"](store, code)

    def chain(self, store: int) -> list[bytes]:
        """What the peer sent, in DER, its own certificate first."""
        stack = self._call["X509_STORE_CTX_get0_untrusted"](store)
        count = self._call["OPENSSL_sk_num"](stack) if stack else 0
        found = [self._der(self._call["OPENSSL_sk_value"](stack, index)) for index in range(count)]
        if not found:
            leaf = self._call["X509_STORE_CTX_get0_cert"](store)
            found = [self._der(leaf)] if leaf else []
        return found

    def _der(self, certificate: int) -> bytes:
        size = self._call["i2d_X509"](certificate, None)
        buffer = ctypes.create_string_buffer(size)
        # i2d moves the pointer behind what it wrote.
        at = ctypes.c_void_p(ctypes.addressof(buffer))
        self._call["i2d_X509"](certificate, ctypes.byref(at))
        return buffer.raw

    # -- connections ------------------------------------------------------------------------------
    def close_notify(self, tls: ssl.SSLObject) -> None:
        """Write the alert that ends our side; the peer's is not waited for."""
        if self._call["SSL_shutdown"](_connection(tls)) < 0:
            self._call["ERR_clear_error"]()  # it would be taken for another call's

    def group(self, tls: ssl.SSLObject) -> int:
        """The NID of the group that the keys were agreed in; 0 where there is none."""
        return int(self._call["SSL_ctrl"](_connection(tls), _GET_NEGOTIATED_GROUP, 0, None))

    def peer_signature(self, tls: ssl.SSLObject) -> tuple[int, int]:
        """The NIDs of the kind of key and of the digest that the peer signed with; zeros where it did not."""
        kind, digest = ctypes.c_int(0), ctypes.c_int(0)
        pointer = _connection(tls)
        self._call["SSL_get_peer_signature_type_nid"](pointer, ctypes.byref(kind))
        self._call["SSL_ctrl"](pointer, _GET_PEER_SIGNATURE_NID, 0, ctypes.addressof(digest))
        return kind.value, digest.value

    def local_certificate(self, tls: ssl.SSLObject) -> bytes:
        """The certificate that was chosen for the peer, in DER."""
        return self._certificate(_connection(tls))

    def _certificate(self, connection: int) -> bytes:
        certificate = self._call["SSL_get_certificate"](connection)
        return self._der(certificate) if certificate else b""

    def session_id(self, tls: ssl.SSLObject) -> bytes:
        session = self._call["SSL_get_session"](_connection(tls))
        if not session:
            return b""
        size = ctypes.c_uint(0)
        at = self._call["SSL_SESSION_get_id"](session, ctypes.byref(size))
        return ctypes.string_at(at, size.value) if at else b""

    def _set_staple(self, connection: int, response: bytes) -> None:
        memory = self._call["CRYPTO_malloc"](len(response), b"", 0)
        ctypes.memmove(memory, response, len(response))
        # OpenSSL frees it.
        self._call["SSL_ctrl"](connection, _SET_STATUS_RESPONSE, len(response), memory)


#: Where CPython's ``PySSLContext`` has its ``SSL_CTX *``, the first field, and ``PySSLSocket`` its ``SSL *``.
_CONTEXT_AT = object.__basicsize__
_CONNECTION_AT = object.__basicsize__ + ctypes.sizeof(_POINTER)


def _context(context: ssl.SSLContext) -> int:
    """``SSL_CTX *``: the first field of CPython's ``PySSLContext``."""
    return ctypes.c_void_p.from_address(id(context) + _CONTEXT_AT).value or 0


def _connection(tls: ssl.SSLObject) -> int:
    """``SSL *``: the second field of CPython's ``PySSLSocket``."""
    inner: Any = tls._sslobj  # type: ignore[attr-defined]  # the C object behind the public one
    return ctypes.c_void_p.from_address(id(inner) + _CONNECTION_AT).value or 0


@cache
def library() -> Library | None:
    """The OpenSSL behind ``ssl``; None where it cannot be reached (a static build, another layout)."""
    path = getattr(_ssl, "__file__", None)
    if path is None or ssl.OPENSSL_VERSION_INFO < (1, 1, 1):
        return None
    try:
        found = Library(ctypes.CDLL(path))
    except (OSError, AttributeError):
        return None
    return found if found.is_sound() else None
