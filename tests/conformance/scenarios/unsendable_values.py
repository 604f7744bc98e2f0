"""Values with controls in them that the configuration, metadata or a filter makes headers of."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

VALUES = {
    "line": "a\r\nx-admin: root",
    "lf": "a\nb",
    "cr": "a\rb",
    "nul": "a\0b",
    "del": "a\x7fb",
    "tab": "a\tb",
}


PLACES = ("request", "response")


def added(name: str, where: str) -> dict[str, Any]:
    field = {"header": {"key": f"x-{name}", "value": f"%DYNAMIC_METADATA(made:{name})%"}}
    return {
        "match": {"path": f"/{where}/{name}"},
        "route": {"cluster": "app"},
        f"{where}_headers_to_add": [field],
    }


FILTERS = [
    {
        "name": "meta",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{"metadata_namespace": "made", "value": VALUES}],
        },
    }
]
SETUP = Setup(
    "unsendable-values",
    bootstrap(
        [
            listener(
                "main",
                routes=json.dumps(
                    [added(name, where) for where in ("request", "response") for name in VALUES]
                ),
                filters=json.dumps(FILTERS),
                log="%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
            )
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


OWN = "response-values-stay-in-their-line"


@scenario(
    SETUP,
    differs={
        "upstream app": "unsendable-requests-take-no-connection",
        **{f"response {name}": OWN for name in VALUES if name != "tab"},
    },
)
async def unsendable_values_of_metadata(s: Session) -> None:
    """Metadata as a header of the request, and of the response."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(2 * len(VALUES)):
        for where in PLACES:
            for name in VALUES:
                await s.get(f"/{where}/{name}", label=f"{where} {name}")
