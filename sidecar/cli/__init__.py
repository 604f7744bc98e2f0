"""The command line: Envoy's flags, and the subcommands beside them."""
