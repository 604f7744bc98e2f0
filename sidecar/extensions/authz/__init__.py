"""What the HTTP and the network filter for external authorization have in common."""
