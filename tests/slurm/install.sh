#!/usr/bin/env bash
# Install what tests/slurm needs (Debian or Ubuntu; as root or with sudo): Slurm, munge, and the database in which Slurm
# keeps its accounts. The tests start their own daemons, and stop them again.
set -euo pipefail
PATH=$PATH:/usr/sbin
hash munged mariadbd slurmdbd slurmctld slurmd sbatch setpriv 2>/dev/null && exit
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    slurm-wlm slurmdbd munge mariadb-server-core
