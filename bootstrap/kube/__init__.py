"""The Kubernetes API and the user's kubeconfig, as seen from this machine."""
