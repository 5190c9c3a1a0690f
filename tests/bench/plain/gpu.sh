# On hosts with GPUs, after host.sh: the driver's nodes and the NVIDIA runtime.
modprobe --quiet nvidia || true # its package has loaded it
nvidia-smi >/dev/null
cat >/etc/containerd/conf.d/99-nvidia.toml <<END
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
    BinaryName = "/usr/bin/nvidia-container-runtime"
    SystemdCgroup = true
END
nvidia-ctk --quiet config --config-file=/etc/nvidia-container-runtime/config.toml --in-place \
  --set nvidia-container-runtime.mode=jit-cdi
nvidia-ctk --quiet cdi generate --output=/var/run/cdi/nvidia.yaml
