"""Clusters, hosts, load balancers, connection pools, discovery."""
