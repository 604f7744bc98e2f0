"""``sidecar iptables apply|clean|check``: the rules that send a pod's connections to its proxy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sidecar.k8s import netfilter
from sidecar.k8s.interception import IPV4, IPV6, Rules, nft_script, restore_script
from sidecar.k8s.settings import PARSERS, SettingError

__all__ = ["run_iptables"]

_LISTS = {
    "include_inbound_ports": "ports, or ranges as 9000-9010, that are intercepted, or * (default)",
    "exclude_inbound_ports": "ports that are not",
    "include_outbound_ports": "ports that are intercepted wherever they go",
    "exclude_outbound_ports": "ports that are not",
    "include_outbound_ranges": "addresses (CIDR) whose connections are intercepted, or * (default)",
    "exclude_outbound_ranges": "addresses that are not",
    "exclude_users": "users (numbers) whose connections are not",
}


def run_iptables(arguments: Sequence[str]) -> int:
    """Write the rules, take them out, or prove them; the exit status: 0, or 1 with one line that says why."""
    options = _parser().parse_args(arguments)
    try:
        rules = _rules(options)
        families = (IPV4, IPV6) if options.ipv6 == "true" else (IPV4,)
        _do(options, rules, families)
    except SettingError as error:
        print(f"--{error.name.replace('_', '-')}: {error}", file=sys.stderr)
        return 1
    except netfilter.InterceptionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _do(options: argparse.Namespace, rules: Rules, families: tuple[int, ...]) -> None:
    if options.action == "check":
        for line in netfilter.check(rules, families):
            print(line)
        return
    which = options.backend if options.dry_run and options.backend != "auto" else ""
    which = which or netfilter.backend(options.backend)
    if options.dry_run:
        scripts = [restore_script(rules, family) for family in families]
        print(nft_script(rules, families) if which == "nft" else "".join(scripts), end="")
    elif options.action == "apply":
        netfilter.apply(rules, families, which)
    else:
        netfilter.clean(families, which)


def _rules(options: argparse.Namespace) -> Rules:
    values = {}
    for name in _LISTS:
        text = getattr(options, name)
        if text is not None:
            parsed = PARSERS[name](name, text)
            values[name] = tuple(parsed.split(",")) if isinstance(parsed, str) else parsed
    return Rules(
        inbound_port=options.inbound_port,
        outbound_port=options.outbound_port,
        proxy_uid=options.proxy_uid,
        dns_port=options.dns_port,
        **values,  # type: ignore[arg-type]
    )


def _parser() -> argparse.ArgumentParser:
    defaults = Rules()
    parser = argparse.ArgumentParser(
        prog="sidecar iptables",
        description="apply: write the rules, in the place of those of an earlier run. clean: take them out. "
        "check: prove by a connection that they work.",
    )
    parser.add_argument("action", choices=("apply", "clean", "check"))
    parser.add_argument("--inbound-port", type=int, default=defaults.inbound_port, metavar="PORT")
    parser.add_argument("--outbound-port", type=int, default=defaults.outbound_port, metavar="PORT")
    parser.add_argument(
        "--proxy-uid", type=int, default=defaults.proxy_uid, metavar="UID", help="whom rules let pass"
    )
    for name, about in _LISTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="LIST", help=about)
    parser.add_argument("--dns-port", type=int, default=0, metavar="PORT", help="where DNS queries go")
    parser.add_argument(
        "--ipv6", choices=("true", "false"), default="true", help="IPv6 as well (default true)"
    )
    parser.add_argument("--backend", choices=("auto", "iptables", "nft"), default="auto")
    parser.add_argument("--dry-run", action="store_true", help="print the rules")
    return parser
