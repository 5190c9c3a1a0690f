# On every host: the kernel, the packages, containerd.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

printf '%s\n' overlay br_netfilter vxlan >/etc/modules-load.d/kubernetes.conf
modprobe --all --quiet overlay br_netfilter vxlan || true # built in, where there is nothing to load
cat >/etc/sysctl.d/99-kubernetes.conf <<END
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
END
sysctl --quiet --load=/etc/sysctl.d/99-kubernetes.conf
swapoff -a || true
echo "$CONTROL_PLANE $ENDPOINT" >>/etc/hosts

mkdir -p /etc/apt/keyrings /etc/containerd/conf.d
printf '%s\n' "$CA" >/etc/mirror-ca.crt
curl --fail --silent --show-error --cacert /etc/mirror-ca.crt --output /etc/apt/keyrings/mirror.asc "$APT_KEY"
cat >/etc/apt/sources.list.d/mirror.sources <<END
Types: deb
URIs: $APT_URL
Suites: stable
Components: main
Architectures: amd64
Signed-By: /etc/apt/keyrings/mirror.asc
END
echo "Acquire::https::CaInfo \"/etc/mirror-ca.crt\";" >/etc/apt/apt.conf.d/90mirror
# The distribution's own lists came with the hosts.
apt-get -qq -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/mirror.sources -o Dir::Etc::sourceparts=- \
  -o APT::Get::List-Cleanup=0 update

packages="conntrack ethtool socat containerd.io=$CONTAINERD kubeadm=$KUBERNETES kubelet=$KUBERNETES kubectl=$KUBERNETES
  cri-tools kubernetes-cni"
if [ "$ROLE" = worker ]; then
  packages+=" nvidia-driver-pinning-${DRIVER%-\*} nvidia-driver-cuda=$DRIVER nvidia-kernel-open-dkms=$DRIVER
    nvidia-container-toolkit=$TOOLKIT nvidia-container-toolkit-base=$TOOLKIT
    libnvidia-container-tools=$TOOLKIT libnvidia-container1=$TOOLKIT"
fi
# shellcheck disable=SC2086 # a list of words
apt-get -qq -y --no-install-recommends install $packages
apt-mark hold containerd.io kubeadm kubelet kubectl

cat >/etc/containerd/config.toml <<END
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins.'io.containerd.cri.v1.images']
  max_concurrent_downloads = 6
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "$PAUSE_IMAGE"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "/etc/containerd/certs.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
END
for registry in $REGISTRIES; do
  mkdir -p "/etc/containerd/certs.d/$registry"
  cat >"/etc/containerd/certs.d/$registry/hosts.toml" <<END
server = "https://$registry"
[host."$REGISTRY_URL"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/mirror-ca.crt"
END
done
cat >/etc/crictl.yaml <<END
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
END
labels=
[ "$ROLE" = control_plane ] || labels=" --node-labels=nvidia.com/gpu.present=true"
echo "KUBELET_EXTRA_ARGS=--node-ip=$HOST$labels" >/etc/default/kubelet
systemctl enable --quiet kubelet
