#!/bin/bash
# A run on SLURM: Ray on the machines of one job, stepgym on the first of them.
#
#   sbatch --nodes 2 examples/cluster/slurm.sh examples/cluster/a2d-decomposer.toml
#
# The job may be ended at any time, by its time limit too: the same command goes on from the run's last checkpoint.
# VENV names an environment with stepgym, openrlhf 0.11.2, vllm 0.29.0, ray 2.55.0, deepspeed 0.19.6 and flash-attn
# 2.8.3 on a file system that all machines see, as are the models (HF_HOME) and the run's folder.
#SBATCH --job-name=stepgym
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=2-00:00:00
#SBATCH --requeue
set -euo pipefail
export RAY_worker_niceness=0  # or Ray's workers, and the event loops of rollouts, step back for whatever else runs

config=${1:?a configuration, such as examples/cluster/srl-math.toml}
source "${VENV:-.venv}/bin/activate"
machines=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
on_first() { srun --nodes 1 --ntasks 1 --overlap --nodelist "${machines[0]}" "$@"; }
address=$(on_first hostname --ip-address | awk '{print $1}'):6379

for machine in "${machines[@]}"; do
    if [ "$machine" = "${machines[0]}" ]; then place=(--head --node-ip-address "${address%:*}" --port 6379)
    else place=(--address "$address"); fi
    srun --nodes 1 --ntasks 1 --overlap --nodelist "$machine" \
        ray start --block --num-gpus "$SLURM_GPUS_ON_NODE" "${place[@]}" &
    until on_first ray status --address "$address" >/dev/null 2>&1; do sleep 2; done  # the first is the others' head
done

# The run looks at the GPUs that are there and waits for none, so wait here.
count='import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
sys.exit(ray.cluster_resources().get("GPU", 0) < int(sys.argv[2]))'
until on_first python -c "$count" "$address" $((SLURM_JOB_NUM_NODES * SLURM_GPUS_ON_NODE)); do sleep 2; done

on_first stepgym train --config "$config" --cluster.address "$address" "${@:2}"
