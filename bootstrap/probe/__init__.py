"""One ssh round trip per host, all hosts at once, that changes nothing: what the hosts are and what is on them."""
