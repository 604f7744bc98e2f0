"""What updates of listeners, clusters, routes and endpoints tell the log, in Envoy's words and order."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from proxy_process import ROOT, proxy_command
from test_server_process import listener

TIMEOUT_S = 60
_LINE = re.compile(r"^\[[^]]*\]\[\d+\]\[(\w+)\]\[(\w+)\] \[[^]]*\] (.*)$")
_HEAD = '{"version_info": "%s", "resources": [%s]}'
_LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"
_CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

#: Reasons that are Envoy's own words.
_SAME_REASONS = ("Missing config source specifier", "duplicate", "unknown cluster", "address is necessary")

pytestmark = pytest.mark.oracle


@dataclass
class Files:
    """A proxy that follows files, and what it has said."""

    process: subprocess.Popen[bytes]
    directory: Path
    output: Path
    seen: int = 0

    def write(self, name: str, text: str) -> None:
        """Move a file into its place."""
        new = self.directory / f"{name}.new"
        new.write_text(text)
        new.replace(self.directory / name)

    def wait(self, words: str) -> None:
        """Until a line behind the last one that was waited for has these words."""
        deadline = time.monotonic() + TIMEOUT_S
        while (at := self.output.read_text().find(words, self.seen)) < 0:
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, f"no {words!r} in {self.output.read_text()}"
            time.sleep(0.05)
        time.sleep(0.3)  # what follows at once
        self.seen = at + len(words)


def cluster(name: str, *more: str) -> str:
    return f"- '@type': {_CLUSTERS}\n  name: {name}\n  type: STATIC\n" + "".join(
        f"  {each}\n" for each in more
    )


def listeners(*texts: str) -> str:
    found = "resources:\n" if texts else "resources: []\n"
    for text in texts:
        lines = text.splitlines()
        found += f"- '@type': {_LISTENERS}\n" + lines[0].replace("  - ", "  ", 1) + "\n"
        found += "\n".join(line[2:] for line in lines[1:]) + "\n"
    return found


def ip(port: int = 0) -> str:
    return f"{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"


def clusters(*texts: str) -> str:
    return "resources:\n" + "".join(texts) if texts else "resources: []\n"


def run(
    kind: str, directory: Path, lds: str, cds: str, drive: Callable[[Files], None]
) -> list[tuple[str, str, str]]:
    """Level, logger and text of what a proxy says between its start and its end."""
    directory = directory / kind
    directory.mkdir()
    (directory / "lds.yaml").write_text(lds)
    (directory / "cds.yaml").write_text(cds)
    file = directory / "bootstrap.yaml"
    file.write_text(
        f"""
node: {{id: here, cluster: test}}
dynamic_resources:
  lds_config: {{path_config_source: {{path: "{directory}/lds.yaml"}}, resource_api_version: V3}}
  cds_config: {{path_config_source: {{path: "{directory}/cds.yaml"}}, resource_api_version: V3}}
"""
    )
    output = directory / "log"
    command = [*proxy_command(kind), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
    command += ["--drain-time-s", "1"]
    with output.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as process:
        files = Files(process, directory, output)
        files.wait("starting main dispatch loop")
        drive(files)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    lines = (_LINE.match(line) for line in output.read_text().splitlines())
    found = [(each[1], each[2], each[3].replace(str(directory), "<here>")) for each in lines if each]
    first = next(at for at, (_, _, text) in enumerate(found) if text.startswith("loading 0 cluster"))
    return [each for each in found[first:] if not each[2].startswith(("  ", "RTDS"))]


def _told(line: tuple[str, str, str]) -> tuple[str, str, str]:
    """A line without why something is refused, where ours names the place in the file as well."""
    level, logger, text = line
    if "no such" in re.sub(" +", " ", text) or "has no field" in text:
        return level, logger, "an unknown field"
    return (
        level,
        logger,
        re.sub(r"((?:rejected|failure): (?:Error [^ ]+ [^ ]+ \w+: |in [^ ]+, )?).*", r"\1", text),
    )


def _compare(tmp_path: Path, lds: str, cds: str, drive: Callable[[Files], None]) -> None:
    ours, theirs = (run(kind, tmp_path, lds, cds, drive) for kind in ("sidecar", "envoy"))
    assert len(ours) >= 10
    assert [_told(each) for each in ours] == [_told(each) for each in theirs]
    for (_, _, our), (_, _, their) in zip(ours, theirs, strict=True):
        if any(words in their for words in _SAME_REASONS):
            reason = their.rpartition(": ")[2]
            assert reason in our


def _write_each(*texts: tuple[str, str]) -> Callable[[Files], None]:
    """Writes one after another, when the one before has told what it does."""

    def drive(files: Files) -> None:
        for name, text in texts:
            size = files.output.stat().st_size
            files.write(name, text)
            deadline = time.monotonic() + TIMEOUT_S
            while files.output.stat().st_size == size:
                assert time.monotonic() < deadline, f"nothing about {text}"
                time.sleep(0.05)
            time.sleep(0.7)  # what follows

    return drive


def test_clusters_that_come_change_and_go(tmp_path: Path) -> None:
    changed = clusters(cluster("a"), cluster("b", "connect_timeout: 3s"))
    drive = _write_each(
        ("cds.yaml", clusters(cluster("a"), cluster("b"), cluster("c"))),
        ("cds.yaml", changed),
        ("cds.yaml", changed),
        ("cds.yaml", clusters()),
    )
    _compare(tmp_path, listeners(), clusters(cluster("a")), drive)


def test_listeners_that_come_change_and_go(tmp_path: Path) -> None:
    one, two = listener(ip(), name="one"), listener(ip(), name="two")
    drive = _write_each(
        ("lds.yaml", listeners(one, two)),
        ("lds.yaml", listeners(one, two.replace("ingress", "other"))),
        ("lds.yaml", listeners(one)),
        ("lds.yaml", listeners()),
    )
    _compare(tmp_path, listeners(one), clusters(), drive)


def test_clusters_that_are_refused(tmp_path: Path) -> None:
    drive = _write_each(
        ("cds.yaml", clusters(cluster("a"), cluster("b", "eds_cluster_config: {}").replace("STATIC", "EDS"))),
        ("cds.yaml", clusters(cluster("a", "no_such_field: 1"))),
        ("cds.yaml", clusters(cluster("a"), cluster("a"))),
        ("cds.yaml", "resources: ["),
        ("cds.yaml", clusters(cluster("a", "connect_timeout: -1s"))),
    )
    _compare(tmp_path, listeners(), clusters(cluster("a")), drive)


def test_listeners_that_are_refused(tmp_path: Path) -> None:
    one, two = listener(ip(), name="one"), listener(ip(), name="two")
    reply = "direct_response: {status: 200, body: {inline_string: hello}}"
    drive = _write_each(
        ("lds.yaml", listeners(one.replace("prefix: /", "prefix: 1, no: 1"))),
        ("lds.yaml", listeners(one.replace("ingress", '""'))),
        ("lds.yaml", listeners(one, one)),
        ("lds.yaml", listeners(one, two.replace(reply, "route: {cluster: nowhere}"))),
        ("lds.yaml", listeners(one.replace("address: {socket", "addres: {socket"), two)),
    )
    _compare(tmp_path, listeners(one), clusters(cluster("a")), drive)
