"""What is done to a scan on its way through the method, step by step."""
