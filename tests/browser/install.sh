#!/usr/bin/env bash
# Install the Chromium that the tests of the report's page need (Debian or Ubuntu; as root or with sudo).
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    hash "$name" 2>/dev/null && exit
done
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium
