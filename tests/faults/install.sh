#!/usr/bin/env bash
# Install a clock that can be set for one process (Debian or Ubuntu; as root or with sudo), for tests/faults.
set -euo pipefail
hash faketime setpriv 2>/dev/null && exit
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends faketime util-linux
