# On the control plane: wait until every node is Ready and every GPU is allocatable.
set -euo pipefail
export KUBECONFIG=/etc/kubernetes/admin.conf
state='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {.status.allocatable.nvidia\.com/gpu}{"\n"}{end}'
for _ in $(seq 600); do
  read -r ready gpus < <(kubectl get nodes -o jsonpath="$state" |
    awk '$1 == "True" { ready++ } { gpus += $2 } END { print ready + 0, gpus + 0 }')
  if [ "$ready" = "$NODES" ] && [ "$gpus" = "$GPUS" ]; then exit 0; fi
  sleep 0.5
done
echo "after 5 min: $ready nodes Ready, $gpus GPUs allocatable" >&2
exit 1
