"""Route tables, matching, header mutation, and the exchange that ends the filter chain."""
