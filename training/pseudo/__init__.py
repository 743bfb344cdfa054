"""A teacher's labels for scans that nobody has labelled."""
