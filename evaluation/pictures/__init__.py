"""Pictures of scans and their labels."""
