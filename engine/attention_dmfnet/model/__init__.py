"""The networks: what the manifest says of them, which variant is taken, and the runtimes that compute them."""
