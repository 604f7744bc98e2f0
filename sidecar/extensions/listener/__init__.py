"""Listener filters."""
