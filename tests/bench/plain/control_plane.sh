# On the control plane, after host.sh. The last line that it prints is the command that joins a worker.
systemctl restart containerd
cat >/root/kubeadm.yaml <<END
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: $CONTROL_PLANE
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  imagePullSerial: false
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v${KUBERNETES%-\*}
controlPlaneEndpoint: $ENDPOINT:6443
networking:
  podSubnet: 10.244.0.0/16
---
$KUBELET_CONFIG
---
$KUBE_PROXY_CONFIG
END
# shellcheck disable=SC2086 # a list of options
kubeadm init --config /root/kubeadm.yaml $PREFLIGHT
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl apply -f - <<<"$MANIFESTS"
kubeadm token create --print-join-command
