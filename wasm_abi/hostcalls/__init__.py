"""The functions a guest may import, one module per group of the ABI; ``table`` lists them all."""
