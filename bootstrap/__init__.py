"""gpuctl: from Linux machines with NVIDIA GPUs to a Kubernetes cluster that is proven to train."""

__version__ = "0.1.0"
