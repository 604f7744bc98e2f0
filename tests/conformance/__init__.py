"""Conformance: the same scenario against this proxy and against a real Envoy, and the two compared.

`scenario.py` says what a scenario is, `lab.py` runs one against one proxy, `compare.py` judges two
observations. The scenarios themselves stand in `scenarios/`, Envoy's answers of record in `recorded/`.
"""

from sidecar.config import api_additions

# Scenarios import generated modules of the API: what these lack must be there by then.
api_additions.install()
