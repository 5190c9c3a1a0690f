# On workers, last: while the control plane is being made there is time for the images.
systemctl restart containerd
for image in $WORKER_IMAGES; do crictl pull "$image" & done
wait
