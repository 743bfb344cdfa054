"""How good label maps are: DSC and NSD, as FLARE22 scores them."""
