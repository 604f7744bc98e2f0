"""What a cluster needs to run the webhook: the objects, and a certificate for them.

The webhook asks nothing of the API server, so its account has no rights and no token.  The API server has to
trust its certificate: either the one made here (a CA, whose key is thrown away, and a certificate in a
Secret), or one that cert-manager issues and writes into the webhook's configuration.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sidecar.core.dataclass import dataclass

__all__ = ["Deployment", "Issued", "issue", "manifests"]

NAME = "trio-sidecar-webhook"
NAMESPACE_LABEL = "trio-sidecar-injection"
_CERTIFICATES = "/etc/sidecar-webhook"
_PORT, _PLAIN_PORT = 9443, 9402
_CA_DAYS, _DAYS = 3650, 825

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate in PEM, its key, and the authority that signed it."""

    authority: bytes
    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Deployment:
    """How the webhook is run.  ``arguments`` are further flags of ``sidecar webhook``."""

    image: str
    namespace: str = "trio-sidecar"
    #: ``Ignore``: pods are made without a sidecar while the webhook is away.  ``Fail``: none are made.
    failure_policy: str = "Ignore"
    is_cert_manager: bool = False
    replicas: int = 2
    arguments: tuple[str, ...] = ()


def issue(names: list[str], now: datetime.datetime) -> Issued:
    """A certificate for these DNS names, by an authority made for it alone."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME} CA")])
    start = now - datetime.timedelta(hours=1)
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        x509.CertificateBuilder(ca_name, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Issued(
        ca.public_bytes(pem),
        certificate.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def manifests(deployment: Deployment, issued: Issued | None) -> str:
    """The objects as YAML; ``issued`` where cert-manager issues none."""
    dump = [yaml.safe_dump(item, sort_keys=False, width=100) for item in _objects(deployment, issued)]
    return "---\n".join(dump)


def dns_names(namespace: str) -> list[str]:
    """What the API server calls the service."""
    return [f"{NAME}.{namespace}.svc", f"{NAME}.{namespace}.svc.cluster.local"]


def _objects(deployment: Deployment, issued: Issued | None) -> Iterator[Object]:
    labels = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "trio-sidecar"}
    namespace = deployment.namespace

    def metadata(name: str = NAME, **more: object) -> Object:
        return {"name": name, "namespace": namespace, "labels": dict(labels), **more}

    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        # Never injected itself: it would wait for itself.
        "metadata": {"name": namespace, "labels": {NAMESPACE_LABEL: "disabled"}},
    }
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(),
        "automountServiceAccountToken": False,
    }
    if issued is not None:
        data = {"tls.crt": issued.certificate, "tls.key": issued.key}
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(),
            "type": "kubernetes.io/tls",
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }
    else:
        issuer = {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": metadata()}
        yield {**issuer, "spec": {"selfSigned": {}}}
        yield {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata(),
            "spec": {
                "secretName": NAME,
                "dnsNames": dns_names(namespace),
                "issuerRef": {"kind": "Issuer", "name": NAME},
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            },
        }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(),
        "spec": {
            "selector": {"app.kubernetes.io/name": NAME},
            "ports": [{"name": "https", "port": 443, "targetPort": "https"}],
        },
    }
    yield _deployment(deployment, metadata(), labels)
    yield {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}}},
    }
    yield _configuration(deployment, labels, issued)


def _deployment(deployment: Deployment, metadata: Object, labels: Object) -> Object:
    probe = {"path": "/readyz", "port": "http", "scheme": "HTTP"}
    arguments = [
        f"--port={_PORT}",
        f"--plain-port={_PLAIN_PORT}",
        f"--certificate={_CERTIFICATES}/tls.crt",
        f"--key={_CERTIFICATES}/tls.key",
        *deployment.arguments,
    ]
    container = {
        "name": "webhook",
        "image": deployment.image,
        "command": ["sidecar", "webhook", "serve"],
        "args": arguments,
        "ports": [
            {"name": "https", "containerPort": _PORT},
            {"name": "http", "containerPort": _PLAIN_PORT},
        ],
        "readinessProbe": {"httpGet": probe, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {**probe, "path": "/healthz"}, "periodSeconds": 20},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "certificates", "mountPath": _CERTIFICATES, "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": deployment.replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "template": {
                "metadata": {
                    "labels": dict(labels),
                    "annotations": {
                        "trio-sidecar/inject": "false",
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(_PLAIN_PORT),
                    },
                },
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1337,
                        "runAsGroup": 1337,
                        "fsGroup": 1337,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [{"name": "certificates", "secret": {"secretName": NAME}}],
                },
            },
        },
    }


def _configuration(deployment: Deployment, labels: Object, issued: Issued | None) -> Object:
    namespace = deployment.namespace
    client: Object = {"service": {"name": NAME, "namespace": namespace, "path": "/inject", "port": 443}}
    metadata: Object = {"name": NAME, "labels": dict(labels)}
    if issued is not None:
        client["caBundle"] = base64.b64encode(issued.authority).decode()
    else:
        metadata["annotations"] = {"cert-manager.io/inject-ca-from": f"{namespace}/{NAME}"}
    webhook = {
        "name": f"{NAME}.{namespace}.svc",
        "clientConfig": client,
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }
        ],
        # Namespaces ask by their label; single pods refuse by theirs, without a question to the webhook.
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "enabled"}},
        "objectSelector": {
            "matchExpressions": [{"key": "trio-sidecar/inject", "operator": "NotIn", "values": ["false"]}]
        },
        "failurePolicy": deployment.failure_policy,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata,
        "webhooks": [webhook],
    }
