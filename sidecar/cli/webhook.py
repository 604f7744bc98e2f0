"""``sidecar webhook``: ``serve`` answers admission reviews, ``manifests`` prints what a cluster needs."""

from __future__ import annotations

import argparse
import datetime
import logging
import signal
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields

import trio

from sidecar.cli.inject import add_settings
from sidecar.k8s.admission import Policy
from sidecar.k8s.settings import SettingError, Settings, flag, with_texts
from sidecar.k8s.webhook import Certificate, Webhook, serve
from sidecar.k8s.webhook_manifests import Deployment, dns_names, issue, manifests

__all__ = ["run_webhook"]

_logger = logging.getLogger("sidecar.webhook")


def run_webhook(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT, or print the manifests; the exit status."""
    options = _parser().parse_args(arguments)
    texts = {
        item.name: value for item in fields(Settings) if (value := getattr(options, item.name)) is not None
    }
    try:
        settings = with_texts(Settings(), texts)
    except SettingError as error:
        print(f"{flag(error.name)}: {error}", file=sys.stderr)
        return 1
    said = [f"{flag(name)}={text}" for name, text in texts.items()]
    if options.command == "manifests":
        return _print(options, settings, said)
    policy = Policy(settings, options.default == "inject", options.deny_errors)
    return _serve(options, policy)


def _print(options: argparse.Namespace, settings: Settings, said: list[str]) -> int:
    more = [f"--default={options.default}"] if options.default != "inject" else []
    if options.deny_errors:
        more.append("--deny-errors")
    deployment = Deployment(
        settings.image,
        options.namespace,
        options.failure_policy,
        options.certificates == "cert-manager",
        options.replicas,
        (*more, *said),
    )
    issued = None
    if not deployment.is_cert_manager:
        issued = issue(dns_names(options.namespace), datetime.datetime.now(datetime.UTC))
    print(manifests(deployment, issued), end="")
    return 0


def _serve(options: argparse.Namespace, policy: Policy) -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="[%(asctime)s][%(levelname)s][%(name)s] %(message)s"
    )

    def started(port: int, plain_port: int) -> None:
        _logger.info("reviews on port %d, metrics and probes on port %d", port, plain_port)

    certificate = Certificate(options.certificate, options.key)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            work = Webhook(policy), certificate, options.host, options.port, options.plain_port
            nursery.start_soon(lambda: serve(*work, started=started))
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    _logger.info("ends: %s", signal.Signals(number).name)
                    nursery.cancel_scope.cancel()

    try:
        certificate.context()
    except (OSError, ssl.SSLError) as error:
        return _fail(f"{options.certificate}, {options.key}", error)
    try:
        trio.run(main)
    except* OSError as group:
        errors = list(_leaves(group))
    else:
        return 0
    return _fail(f"ports {options.port} and {options.plain_port}", errors[0])


def _leaves(group: BaseExceptionGroup[OSError]) -> Iterator[OSError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _fail(what: str, error: OSError) -> int:
    print(f"sidecar webhook: {what}: {error.strerror or error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar webhook",
        description="Injects the sidecar into pods while they are made: a mutating admission webhook.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="answer AdmissionReviews over TLS")
    server.add_argument("--host", default="", help="address to listen on (all)")
    server.add_argument("--port", type=int, default=9443, help="port for reviews (9443)")
    server.add_argument("--plain-port", type=int, default=9402, help="port for /metrics and probes (9402)")
    server.add_argument("--certificate", required=True, metavar="FILE", help="PEM; read anew when it changes")
    server.add_argument("--key", required=True, metavar="FILE", help="PEM; read anew when it changes")
    printer = commands.add_parser("manifests", help="print what a cluster needs, for kubectl apply")
    printer.add_argument("--namespace", default="trio-sidecar", help="where the webhook lives")
    printer.add_argument("--certificates", choices=("generated", "cert-manager"), default="generated",
                         help="made here, or by cert-manager")  # fmt: skip
    printer.add_argument(
        "--failure-policy",
        choices=("Ignore", "Fail"),
        default="Ignore",
        help="pods while the webhook is away: made without a sidecar (Ignore), or not made (Fail)",
    )
    printer.add_argument("--replicas", type=int, default=2)
    for command in (server, printer):
        command.add_argument("--default", choices=("inject", "skip"), default="inject",
                             help="pods that say nothing about trio-sidecar/inject")  # fmt: skip
        command.add_argument("--deny-errors", action="store_true",
                             help="refuse pods with wrong annotations instead of a warning")  # fmt: skip
        add_settings(command)
    return parser
