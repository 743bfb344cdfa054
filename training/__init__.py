"""Networks, losses, data and the loops that turn scans into checkpoints."""
