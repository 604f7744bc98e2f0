"""Restarts, ends and kills proxies again and again under load, and counts what that costs."""
