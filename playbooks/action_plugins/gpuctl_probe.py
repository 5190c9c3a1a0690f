"""Action plugin gpuctl_probe: runs the module of that name on the host. A playbook without gpuctl begins with it."""

from ansible.errors import AnsibleError

try:
    from bootstrap.apply.host_action import HostAction as ActionModule
except ImportError as error:
    fix = "run ansible-playbook from the environment in which gpuctl is installed"
    raise AnsibleError(f"[gpuctl-missing] {error}; fix: {fix}") from error

__all__ = ["ActionModule"]
