"""minikube: one machine with Docker as a cluster of one node, started, looked at and taken down by its own program."""
