"""Sockets: listening, the reactor, DNS. What awaits on descriptors lives here."""
