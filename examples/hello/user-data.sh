#!/bin/sh
# The user data of hello-web: runs once, at the instance's first boot, as root. /data is the volume hello-data, which
# outlives instances: the count goes up with every new instance that boots on it.
set -eu
count=$(($(cat /data/instances 2>/dev/null || echo 0) + 1))
echo "$count" >/data/instances

cat >/data/index.html <<END
Hello from $(hostname).
First boot: $(date -u '+%Y-%m-%d %H:%M:%S UTC')
Instances that have booted on this volume: $count
END
