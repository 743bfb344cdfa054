"""What is read and written: scans, label maps, and the names of cases."""
