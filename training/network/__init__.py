"""Attention DMFNet."""
