"""Jobs over several nodes: what they consist of under each launcher, and how they are run and followed."""
