# shellcheck shell=bash
# JUWELS Booster (4 x A100 and 4 x HDR200 a node). Written from its users' scripts and NCCL's
# documentation; not run there by us.

# shellcheck source=cluster/env/generic.sh
source "$(dirname "${BASH_SOURCE[0]}")/generic.sh"

# Names of nodes with an i are their InfiniBand addresses; all gRPC follows the address of rank 0.
export KT_HOST_SUFFIX=i
export NCCL_SOCKET_IFNAME=ib0
# 4.096 us * 2^22: links that flap for a moment do not end a job of hundreds of GPUs.
export NCCL_IB_TIMEOUT=22
export NCCL_IB_RETRY_CNT=7
