"""Synthetic CT painted from anatomy maps."""
