"""Looking after a workspace and its machines: status, space, verification, checks."""
