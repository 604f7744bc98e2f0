"""``sidecar inject``: manifests in, manifests with the sidecar out."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from sidecar.k8s import documents, rewrite
from sidecar.k8s.settings import SettingError, Settings, flag, with_texts

__all__ = ["add_settings", "run_inject", "settings_table"]

_STDIN = "-"
_HELP = {
    "image": "image of the proxy",
    "image_pull_policy": "Always, IfNotPresent or Never",
    "native": "true: an init container with restartPolicy Always (Kubernetes 1.29); false: a plain container",
    "config_map": "NAME[:KEY] of a ConfigMap with the configuration; without it one is written",
    "config_delivery": "where a written configuration goes: configmap (beside the workload) or inline",
    "interception": "redirect (iptables, an init container with NET_ADMIN) or none",
    "include_inbound_ports": "ports whose connections are intercepted, or *",
    "exclude_inbound_ports": "ports, or ranges as 9000-9010, that are not",
    "include_outbound_ports": "ports that are intercepted wherever they go",
    "exclude_outbound_ports": "ports, or ranges, that are not",
    "include_outbound_ranges": "addresses (CIDR) whose connections are intercepted, or *",
    "exclude_outbound_ranges": "addresses (CIDR) that are not",
    "exclude_users": "users (numbers) whose connections are not",
    "dns_port": "port of a DNS listener of your configuration, where queries go; 0 leaves them alone",
    "ipv6": "false: nodes without IPv6",
    "rewrite_probes": "true: the application's probes go through the proxy",
    "inbound_port": "port of the listener for what comes in",
    "outbound_port": "port of the listener for what goes out",
    "admin_port": "port of the admin API, on loopback",
    "health_port": "port for the kubelet's probes and for scraping",
    "concurrency": "workers; 0 for as many as the CPU limit allows",
    "log_level": "the proxy's log level",
    "shutdown_grace": "seconds after SIGTERM in which a plain container still takes new connections",
    "user": "user (number) of the proxy, whom interception lets pass",
    "cpu_request": "CPU that the proxy asks for",
    "cpu_limit": "CPU that it may use",
    "memory_request": "memory that it asks for",
    "memory_limit": "memory that it may use",
    "lua": "ConfigMaps with Lua scripts, in /etc/sidecar-lua/NAME/",
    "wasm": "Wasm modules: configmap:NAME, pvc:NAME or image:REFERENCE, in /etc/sidecar-wasm/NAME/",
    "secrets": "Secrets, in /etc/sidecar-secrets/NAME/",
    "mounts": "VOLUME:PATH of volumes that the pod has, which the proxy may read",
}


def run_inject(arguments: Sequence[str]) -> int:
    """Inject, or undo.

    The exit status: 0, or 1 where a manifest or a setting is wrong (nothing is written then).
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    texts = {
        item.name: value for item in fields(Settings) if (value := getattr(options, item.name)) is not None
    }
    try:
        settings = with_texts(Settings(), texts)
    except SettingError as error:
        return _fail([f"{flag(error.name)}: {error}"])
    if options.in_place and options.output:
        return _fail(["--in-place and --output: one or the other"])
    try:
        files = list(_files(options.files or [_STDIN]))
    except documents.ManifestError as error:
        return _fail([str(error)])
    if options.in_place and any(name == _STDIN for name, _, _ in files):
        return _fail(["--in-place: standard input is no file"])
    errors: list[str] = []
    results: list[tuple[str, Path, str, str]] = []
    for name, relative, found in files:
        done = (
            rewrite.undo_documents(found)
            if options.undo
            else rewrite.inject_documents(found, settings, default=not options.only_labelled)
        )
        errors += done.errors
        for note in done.notes:
            print(note, file=sys.stderr)
        before = documents.join((each.separator, each.text) for each in found)
        results.append((name, relative, before, done.text))
    if errors:
        return _fail(errors)
    _write(results, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar inject",
        description="Adds the sidecar to the pods of Kubernetes manifests. Every setting is an annotation of "
        "the pod template, too, trio-sidecar/NAME, which says more than the flag. Twice changes nothing.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="files, folders, or - for standard input")
    parser.add_argument("--undo", action="store_true", help="take an injection back")
    parser.add_argument("--diff", action="store_true", help="show what would change, write nothing")
    parser.add_argument("--in-place", "-i", action="store_true", help="write the files that were read")
    parser.add_argument("--output", "-o", metavar="FOLDER", help="write the files there, by their names")
    text = 'only pods that say trio-sidecar/inject: "true", by label or annotation'
    parser.add_argument("--only-labelled", action="store_true", help=text)
    add_settings(parser)
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting."""
    group = parser.add_argument_group("settings")
    for item in fields(Settings):
        default = item.default if isinstance(item.default, str) else ""
        about = _HELP[item.name].replace("%", "%%")
        value = str(default or (item.default if item.default not in ((), "") else "")).replace("True", "true")
        shown = f"{about} (default {value.replace('False', 'false')})" if value else about
        group.add_argument(flag(item.name), dest=item.name, metavar="VALUE", help=shown)


def _files(names: list[str]) -> Iterator[tuple[str, Path, list[documents.Document]]]:
    """Each file with its place below the folder that was named."""
    for name in names:
        if name == _STDIN:
            yield _STDIN, Path("stdin.yaml"), documents.split(sys.stdin.read(), "<stdin>")
            continue
        root = Path(name)
        for path in documents.find_files(root):
            relative = path.relative_to(root) if root.is_dir() else Path(path.name)
            yield str(path), relative, documents.load(path)


def _write(results: list[tuple[str, Path, str, str]], options: argparse.Namespace) -> None:
    if options.diff:
        for name, _, before, after in results:
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name, n=2)
            )
        return
    if options.in_place or options.output:
        for name, relative, before, after in results:
            target = Path(options.output) / relative if options.output else Path(name)
            if options.output or before != after:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(after, "utf-8")
        return
    sys.stdout.write(documents.join(("", after) for _, _, _, after in results))


def _fail(errors: list[str]) -> int:
    for error in errors:
        print(error, file=sys.stderr)
    return 1


def settings_table() -> str:
    """The settings as the page `docs/kubernetes.md` has them."""
    lines = ["| annotation `trio-sidecar/…`, flag `--…` | default | what it says |", "|---|---|---|"]
    for item in fields(Settings):
        value = item.default
        text = str(value).lower() if isinstance(value, bool) else "" if value == () else str(value)
        if item.name == "image":
            text = text.rpartition(":")[0] + ":VERSION"
        shown = f"`{text}`" if text else ""
        lines.append(f"| `{item.name.replace('_', '-')}` | {shown} | {_HELP[item.name]} |")
    return "\n".join(lines)
