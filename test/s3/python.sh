#!/bin/sh
# Brings the Python packages that ceph/s3-tests needs: from this Debian what it has, and a newer boto3 from sid (Debian 12's own fails tests by itself),
# unpacked into a folder beside the system, never installed. Prints what to set as PYTHONPATH. Needs root for the first part only.
# The mirror is the one that this machine's apt uses already.
set -eu
folder=${1:?usage: python.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

needed='python3-pytest python3-pytest-xdist python3-pytest-timeout python3-munch python3-gevent python3-isodate python3-requests python3-tz python3-httplib2 python3-lxml python3-yaml python3-dateutil python3-jmespath python3-urllib3'
missing=''
for package in $needed; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086 # words
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends $missing >&2
fi

if [ ! -e "$folder/site/usr/lib/python3/dist-packages/boto3/__init__.py" ]; then
  mirror=$(apt-get indextargets 'Created-By: Packages' --format '$(REPO_URI) $(ORIGIN) $(SUITE)' | awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
  [ -n "$mirror" ] || { echo 'no Debian mirror among the sources of apt' >&2; exit 1; }
  apt="$folder/apt"
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
  cat >"$apt/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main
END
  cat >"$apt/apt.conf" <<END
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
APT::Update::Post-Invoke-Success "";
END
  export APT_CONFIG="$apt/apt.conf"
  apt-get update -qq >&2
  (cd "$apt" && apt-get download -qq python3-botocore python3-boto3 python3-s3transfer >&2)
  for package in "$apt"/*.deb; do dpkg -x "$package" "$folder/site"; done
  unset APT_CONFIG
fi
export PYTHONPATH="$folder/site/usr/lib/python3/dist-packages"
/usr/bin/python3 -c 'import boto3, pytest, xdist, pytest_timeout, munch, gevent, isodate, requests, pytz, httplib2, lxml, yaml' >&2
echo "$PYTHONPATH"
