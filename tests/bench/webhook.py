"""How long the admission webhook takes: ``python -m tests.bench.webhook [--reviews N]``.

Reviews over one TLS connection, one after the other as an API server sends them, and each on a connection
of its own; the bar is 20 ms at the median.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme

_POD: dict[str, Any] = {
    "metadata": {"generateName": "shop-", "labels": {"app": "shop"}},
    "spec": {
        "containers": [
            {
                "name": f"app-{number}",
                "image": "app:1",
                "env": [{"name": f"V{n}", "value": "x" * 40} for n in range(30)],
                "livenessProbe": {"httpGet": {"path": "/live", "port": 8080 + number}},
                "readinessProbe": {"tcpSocket": {"port": 8080 + number}},
            }
            for number in range(3)
        ],
        "volumes": [{"name": f"v{n}", "emptyDir": {}} for n in range(5)],
    },
}


def _review(number: int) -> bytes:
    request = {"uid": str(number), "kind": {"kind": "Pod"}, "namespace": "prod", "object": _POD}
    message = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(message).encode()


def _ask(connection: http.client.HTTPSConnection, number: int) -> None:
    connection.request("POST", "/inject", _review(number), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    if "patch" not in answer["response"]:
        raise SystemExit(f"no patch: {answer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=1000)
    reviews = parser.parse_args().reviews
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(directory / "key")
        issued.cert_chain_pems[0].write_to_path(directory / "crt")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        files = ["--certificate", str(directory / "crt"), "--key", str(directory / "key")]
        command = [sys.executable, "-m", "sidecar", "webhook", "serve", "--host", "localhost"]
        process = subprocess.Popen(
            [*command, "--port", "0", "--plain-port", "0", *files], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            port = int(process.stderr.readline().partition("reviews on port ")[2].split(",")[0])
            # Its log has to be read, or it waits.
            log = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            _measure(port, context, reviews)
            log.terminate()
            log.wait()
        finally:
            process.terminate()
            process.wait()


def _measure(port: int, context: ssl.SSLContext, reviews: int) -> None:
    kept = http.client.HTTPSConnection("localhost", port, context=context)
    for label, is_kept in (("one connection", True), ("a connection each", False)):
        took = []
        for number in range(reviews):
            began = time.perf_counter()
            if is_kept:
                _ask(kept, number)
            else:
                own = http.client.HTTPSConnection("localhost", port, context=context)
                _ask(own, number)
                own.close()
            took.append((time.perf_counter() - began) * 1000)
        cuts = statistics.quantiles(took, n=100)
        print(f"{reviews} reviews, {label}: median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    kept.close()


if __name__ == "__main__":
    main()
