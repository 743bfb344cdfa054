"""Folders of scans, checked and prepared for training."""
