"""Filters of UDP listeners."""
