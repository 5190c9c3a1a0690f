"""Who answers for each file that a run left under /etc, /usr/local and /opt: a package, evidence, or a named other."""

from __future__ import annotations

import fnmatch
import json

from tests.e2e.tool import Lab

# Paths that others write, with the writer.
OTHERS = {
    "/etc/kubernetes/*": "kubeadm: PKI, kubeconfigs and static pods",
    "/etc/cni/net.d/*": "flannel's init container",
    "/etc/cni": "flannel's init container",
    "/opt/cni/bin/flannel": "flannel's init container",
    "/etc/ld.so.cache": "ldconfig, run by packages",
    "/etc/passwd*": "adduser, run by packages",
    "/etc/group*": "adduser, run by packages",
    "/etc/shadow*": "adduser, run by packages",
    "/etc/gshadow*": "adduser, run by packages",
    "/etc/subuid*": "adduser, run by packages",
    "/etc/subgid*": "adduser, run by packages",
    "/etc/.pwd.lock": "adduser, run by packages",
    "/etc/systemd/system/*.wants/*": "systemctl enable",
    "/etc/systemd/system/*.wants": "systemctl enable",
    "/etc/alternatives/*": "update-alternatives, run by packages",
    "/etc/rc?.d/*": "update-rc.d, run by packages",
    "/etc/ssl/certs/*": "update-ca-certificates",
    "/etc/machine-id": "the host's first boot",
    "/etc/hostname": "the lab",
    "/etc/resolv.conf": "the lab",
    "/etc/network/*": "the lab",
    "/etc/ssh/ssh_host_*": "the host's first boot",
    "/etc/gpuctl-lab.json": "the lab",
    "/etc/gpuctl-lab/*": "the lab",
    "/etc/systemd/system/gpuctl-lab-*": "the lab",
    "/usr/local/lib/gpuctl-lab/*": "the lab",
    "/etc/containerd/conf.d/10-lab.toml": "the lab",
    "/etc/apt/apt.conf.d/*lab*": "the lab",
    "/etc/mtab": "systemd",
    "/etc/.updated": "systemd",
    "/etc/modprobe.d": "kmod",
}
_SCRIPT = """
import json, os, subprocess
owned = set()
for name in os.listdir('/var/lib/dpkg/info'):
    if name.endswith(('.list', '.conffiles')):
        with open('/var/lib/dpkg/info/' + name) as lines:
            owned.update(line.split()[0] for line in lines if line.strip())
started = os.stat('/etc/gpuctl-lab.json').st_mtime
found = []
for top in ('/etc', '/usr/local', '/opt'):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if path not in owned and os.path.realpath(path) not in owned and os.lstat(path).st_ctime > started:
                found.append(path)
receipts = []
for name in os.listdir('/var/lib/gpuctl/receipts'):
    with open('/var/lib/gpuctl/receipts/' + name) as file:
        receipts += [key[5:] for key in json.load(file)['evidence'] if key.startswith('file:')]
print(json.dumps({'found': sorted(found), 'evidence': receipts}))
"""


def unexplained_files(lab: Lab, host: str) -> list[str]:
    """Files changed since the host was made for which nobody answers."""
    seen = json.loads(lab.ssh(host, "python3", "-", stdin=_SCRIPT))
    evidence = set(seen["evidence"])
    return [
        path
        for path in seen["found"]
        if path not in evidence and not any(fnmatch.fnmatch(path, pattern) for pattern in OTHERS)
    ]
