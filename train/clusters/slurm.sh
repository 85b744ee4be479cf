#!/usr/bin/env bash
# Two machines with eight GPUs each under SLURM: sbatch train/clusters/slurm.sh --recipe imagenet1k --dataset FOLDER
# Two minutes before its time is over, or when it has to give way, the run saves a checkpoint and the job is queued again;
# it goes on from there. The same command resumes it too.
#SBATCH --job-name=pushpull
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export first
stopped=
# Not by a signal to srun, which would kill the processes on SIGTERM instead of passing it on.
trap 'stopped=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
srun bash -c 'accelerate launch --config_file train/clusters/two_machines.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$((8 * SLURM_NNODES))" \
    --machine_rank "$SLURM_NODEID" --main_process_ip "$first" \
    train/train.py --resume "$@"' bash "$@" &
code=0
wait $! || code=$?
if [ -n "$stopped" ]; then  # the signal has ended `wait`, not srun
    code=0
    wait $! || code=$?
    [ "$code" -eq 0 ] || exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
