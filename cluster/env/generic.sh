# shellcheck shell=bash
# What a job needs before Python starts, on a site without peculiarities. Copy it for your site and
# name the copy in KT_SITE: KT_SITE=cluster/env/mysite.sh sbatch cluster/pretrain.sbatch ...

# module load Python/3.11 CUDA

if [[ -f "${KT_VENV:-.venv}/bin/activate" ]]; then
  # shellcheck source=/dev/null
  source "${KT_VENV:-.venv}/bin/activate"
fi
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
# srun does not inherit --cpus-per-task any more (Slurm 22.05 and later).
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
