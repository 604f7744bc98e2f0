"""YAML to protobuf to validated to compiled; lines of the file for every error."""
