"""Studies that were made once, each a script with a page in docs/decisions, kept so that they can be made again."""
