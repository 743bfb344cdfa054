"""Studies that were made once, kept so that they can be made again."""
