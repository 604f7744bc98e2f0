"""Injection into Kubernetes pods. Runs without a data plane."""
