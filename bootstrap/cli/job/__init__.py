"""gpuctl job: training over several nodes, under any launcher."""
