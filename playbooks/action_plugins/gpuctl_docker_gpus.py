"""Action plugin gpuctl_docker_gpus: runs the module of that name on the host."""

from bootstrap.apply.host_action import HostAction as ActionModule

__all__ = ["ActionModule"]
