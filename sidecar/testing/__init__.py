"""What a filter author uses to test filters."""
