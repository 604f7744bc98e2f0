"""Conformance: the same scenario against this proxy and against a real Envoy, and the two compared.

`scenario.py` says what a scenario is, `lab.py` runs one against one proxy, `compare.py` judges two
observations. The scenarios themselves stand in `scenarios/`, Envoy's answers of record in `recorded/`.
"""
