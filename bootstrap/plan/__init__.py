"""What has to be done where, and why: wanted digests against receipts and evidence."""
