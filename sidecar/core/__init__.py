"""Vocabulary shared by every layer: errors, headers, addresses, logging."""
