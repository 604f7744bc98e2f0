"""Restarts a proxy hot again and again under load, and counts what that costs: requests, descriptors."""
