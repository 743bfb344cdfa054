"""Compiled steps of the network and its loss, for training on a CPU."""
