"""gpuctl minikube: a cluster of one node on this machine, or on the minikube host of an inventory."""
