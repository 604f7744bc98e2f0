"""What the HTTP and the network filter for rate limits by a service have in common."""
