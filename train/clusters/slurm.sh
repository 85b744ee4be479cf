#!/usr/bin/env bash
# Two machines with eight GPUs each under SLURM: sbatch train/clusters/slurm.sh --recipe imagenet1k --dataset FOLDER
# A job that was cut off goes on where it stopped when it is queued again (--requeue, or the same command).
#SBATCH --job-name=pushpull
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export first
srun bash -c 'accelerate launch --config_file train/clusters/two_machines.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$((8 * SLURM_NNODES))" \
    --machine_rank "$SLURM_NODEID" --main_process_ip "$first" \
    train/train.py --resume "$@"' bash "$@"
