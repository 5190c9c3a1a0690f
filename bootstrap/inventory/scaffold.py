"""The text of a new inventory, as `gpuctl init` writes it: commented, and valid as it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bootstrap.errors import usage_error
from bootstrap.inventory.schema import component_named
from bootstrap.versions import versions

_HEAD = """\
# The hosts of one cluster, in Ansible's inventory format.
#
#   gpuctl plan --inventory {file}         shows what would be done
#   gpuctl bootstrap --inventory {file}    does it; safe to run again
#
# A line may carry any of Ansible's connection variables for its host, such as ansible_port=2222.
# Which hosts have GPUs is found out, not declared.
"""
_VARIABLES = """\
# Everything below is optional; docs/variables.md lists all settings. Quote versions, or 1.40 is read as 1.4.
cluster_name="{cluster}"
#kubeadm_kubernetes_version="{kubernetes}"

# The networks of pods and services. They must not overlap with any network of the hosts, and stay as they are once
# the cluster exists.
#cluster_pod_cidr=10.244.0.0/16
#cluster_service_cidr=10.96.0.0/12

# auto: hosts with GPUs become GPU nodes; required: a worker without one is an error; none: no drivers are installed.
#cluster_gpu=auto

# auto keeps a good driver that is already there; always installs the one named here; never installs none.
#nvidia_driver_manage=auto
#nvidia_driver_branch="{branch}"
"""


def render_scaffold(
    control_plane: Sequence[str],
    workers: Sequence[str] = (),
    user: str = "root",
    cluster: str = "lab",
    file: str = "lab.ini",
) -> str:
    """The inventory for these hosts: names or addresses, an address optionally after a name (`gpu1=192.0.2.11`).

    Raises:
        GpuctlError: exit 2: there is no control plane, a host is named twice, or a name cannot stand in an INI file.
    """
    if not control_plane:
        raise usage_error("an inventory needs a control plane", "name at least one host with --control-plane")
    lines = [_line(host, number, "cp") for number, host in enumerate(control_plane, start=1)]
    more = [_line(host, number, "gpu") for number, host in enumerate(workers, start=1)]
    _refuse_doubles([*lines, *more])
    pattern = component_named("cluster").patterns["cluster_name"]
    if not re.search(pattern, cluster):
        raise usage_error(f"{cluster!r} is no cluster name", f"use a name that matches {pattern}")
    login = "# Users other than root need sudo; if it asks for a password, run with --ask-become-pass."
    defaults = versions().defaults()
    text = _VARIABLES.format(
        cluster=cluster, kubernetes=defaults["kubeadm_kubernetes_version"], branch=defaults["nvidia_driver_branch"]
    )
    parts = [
        _HEAD.format(file=file),
        "\n".join(["[control_plane]", *lines]) + "\n",
        "\n".join(["[workers]", *(more or ["# none: pods run on the control plane"])]) + "\n",
        f"[all:vars]\n{login}\nansible_user={_word(user)}\n#ansible_ssh_private_key_file=~/.ssh/id_ed25519\n",
        text,
    ]
    return "\n".join(parts)


def _line(host: str, number: int, prefix: str) -> str:
    """`gpu1 ansible_host=192.0.2.11`: what is only an address is given a name."""
    name, equals, address = host.partition("=")
    if equals:
        return f"{_word(name)} ansible_host={_word(address)}"
    is_address = ":" in name or name.replace(".", "").isdecimal()
    return f"{prefix}{number} ansible_host={_word(name)}" if is_address else _word(name)


def _word(text: str) -> str:
    """Text that means itself in an inventory line."""
    usable = text and text.isprintable() and not set(text) & set(" \t#;'\"\\[]{}=,")
    if not usable or text.startswith("-"):
        raise usage_error(f"{text!r} is no host or user name", "use a DNS name, an address or NAME=ADDRESS")
    return text


def _refuse_doubles(lines: Sequence[str]) -> None:
    for position in (0, -1):
        words = [line.split()[position] for line in lines]
        for word in words:
            if words.count(word) > 1:
                raise usage_error(f"{word.removeprefix('ansible_host=')} is named twice", "name each host once")
