"""gpuctl testvm: test hosts on this machine."""
