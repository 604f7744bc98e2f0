"""The scenarios, by theme. Each module has its setups on top and one function per scenario below."""
