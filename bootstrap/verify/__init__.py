"""Proof, layer by layer, from the PCI bus to a pod that computed on each GPU."""
