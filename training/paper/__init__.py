"""The whole of the paper in one command: from raw folders to models and their cards."""
