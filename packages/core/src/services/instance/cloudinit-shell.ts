// The shell functions that first boot is made of. Only POSIX shell and a few programs that every image with a shell has (cat, chmod,
// chown, cp, ln, mkdir, mv, rm), so that they run under dash, bash and busybox alike. They hold no user text: that comes as arguments
// and as files of $stage.

export const FUNCTIONS = `
has() { command -v "$1" >/dev/null 2>&1; }

# FILE: its lines, the last one ended too.
lines() {
  [ -f "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do printf '%s\\n' "$line"; done <"$1"
}

# FILE TEXT: whether it has that line.
has_line() {
  [ -f "$1" ] || return 1
  while IFS= read -r line || [ -n "$line" ]; do [ "$line" != "$2" ] || return 0; done <"$1"
  return 1
}

# FILE: takes what comes in as its content, keeping owner and permissions. Nobody sees it half written.
replace() {
  if [ -e "$1" ]; then cp -p "$1" "$1.cloud-init" || return; fi
  cat >"$1.cloud-init" && mv "$1.cloud-init" "$1"
}

add_line() {
  { lines "$1"; printf '%s\\n' "$2"; } | replace "$1"
}

# FILE NAME NUMBER: a field of the line of that name in a file such as /etc/passwd.
field() {
  [ -f "$1" ] || return 1
  while IFS=: read -r f1 f2 f3 f4 f5 f6 f7 || [ -n "$f1" ]; do
    [ "$f1" = "$2" ] || continue
    case $3 in 2) f1=$f2 ;; 3) f1=$f3 ;; 4) f1=$f4 ;; 6) f1=$f6 ;; esac
    printf '%s\\n' "$f1"
    return 0
  done <"$1"
  return 1
}

listed() { field "$1" "$2" 1 >/dev/null; }

# FILE ID: whether some line has that number.
taken() {
  [ -f "$1" ] || return 1
  while IFS=: read -r t1 t2 t3 t4 || [ -n "$t1" ]; do [ "$t3" != "$2" ] || return 0; done <"$1"
  return 1
}

# FILE FIRST: the first number from there on that is free.
free_id() {
  free=$2
  while taken "$1" "$free"; do free=$((free + 1)); done
  printf '%s\\n' "$free"
}

# PATH OWNER: makes the missing directories above it.
make_parents() {
  [ -n "\${1%/*}" ] || return 0
  [ ! -d "\${1%/*}" ] || return 0
  make_parents "\${1%/*}" "$2" || return
  mkdir "\${1%/*}" && chown "$2" "\${1%/*}"
}

# STAGED PATH OWNER MODE append|write
write_file() {
  make_parents "$2" "$3" || return
  if [ "$5" = append ]; then
    (umask 077 && cat "$stage/$1" >>"$2") || return
  else
    (umask 077 && cat "$stage/$1" >"$2") || return
  fi
  chown "$3" "$2" && chmod "$4" "$2"
}

# NAME: the instance got it when it was made; this makes the files agree.
set_hostname() {
  IFS= read -r now </proc/sys/kernel/hostname
  if [ "$now" != "$1" ] && ! hostname "$1"; then
    echo "The host name is $now and cannot be changed from inside"
    return 1
  fi
  printf '%s\\n' "$1" >/etc/hostname
}

# LINE. Not by \`replace\`: an engine may have mounted the file.
name_in_hosts() {
  has_line /etc/hosts "$1" || printf '%s\\n' "$1" >>/etc/hosts
}

# yes|no. The first line of a keyword is the one that sshd takes.
ssh_passwords() {
  if [ ! -f /etc/ssh/sshd_config ]; then
    echo 'There is no /etc/ssh/sshd_config in this image: nothing to set'
    return 0
  fi
  { printf 'PasswordAuthentication %s\\n' "$1"; lines /etc/ssh/sshd_config; } | replace /etc/ssh/sshd_config || return
  [ -f /run/sshd.pid ] || return 0
  # The file may be one that the image brought along.
  IFS= read -r pid </run/sshd.pid && IFS= read -r program <"/proc/$pid/comm" && [ "$program" = sshd ] || return 0
  kill -HUP "$pid"
}

# ZONE
set_timezone() {
  if [ ! -f "/usr/share/zoneinfo/$1" ]; then
    echo "There is no time zone $1 in this image (the package tzdata brings them)"
    return 1
  fi
  ln -sf "/usr/share/zoneinfo/$1" /etc/localtime && printf '%s\\n' "$1" >/etc/timezone
}

# The program that user data is. A missing interpreter would else be told as a missing script.
script() {
  if [ ! -x "$1" ]; then
    echo "There is no $1 in this image"
    return 127
  fi
  "$stage/script"
}

# bootcmd|runcmd: its items in one shell, as cloud-init does. Each tells its own failure; what is left in \`current\` ended the shell.
commands() {
  printf '' >"$stage/current"
  /bin/sh "$stage/$1.sh"
  code=$?
  IFS= read -r item <"$stage/current" || return 0
  if [ "$code" -eq 0 ]; then
    echo "cloud-init: $item ended the shell; what follows it in $1 is not run"
  else
    failed "$code" "$item"
  fi
}

# CODE LABEL
failed() {
  printf 'cloud-init: %s failed with exit code %s\\n' "$2" "$1"
  printf '%s %s\\n' "$1" "$2" >>"$stage/failed"
}

# LABEL COMMAND…
step() {
  label=$1
  shift
  printf 'cloud-init: %s\\n' "$label"
  ("$@")
  code=$?
  [ "$code" -eq 0 ] || failed "$code" "$label"
}
`;

export const PACKAGE_FUNCTIONS = `
# yes|'' to update the lists, yes|'' to upgrade, then NAME VERSION …; a version may be ''.
packages() {
  update=$1 upgrade=$2 wanted=''
  shift 2
  for manager in apt-get apk dnf microdnf yum zypper pacman none; do
    if has "$manager"; then break; fi
  done
  case $manager in
    none)
      echo 'There is no package manager in this image (known: apt-get, apk, dnf, microdnf, yum, zypper, pacman)'
      return 1
      ;;
    apt-get | apk | zypper) joint='=' ;;
    pacman) joint='' ;;
    *) joint=- ;;
  esac
  while [ $# -gt 0 ]; do
    if [ -n "$2" ] && [ -z "$joint" ]; then
      echo "pacman installs no chosen version: $1 $2"
      return 1
    fi
    wanted="$wanted $1\${2:+$joint$2}"
    shift 2
  done
  export DEBIAN_FRONTEND=noninteractive
  case $manager in
    apt-get) with_apt ;;
    apk)
      [ -z "$update" ] || apk update || return
      [ -z "$upgrade" ] || apk --no-cache upgrade || return
      [ -z "$wanted" ] || apk --no-cache add $wanted
      ;;
    zypper)
      [ -z "$update$upgrade" ] || zypper --non-interactive refresh || return
      [ -z "$upgrade" ] || zypper --non-interactive update || return
      [ -z "$wanted" ] || zypper --non-interactive install --auto-agree-with-licenses $wanted
      ;;
    pacman)
      pacman -Sy --noconfirm \${upgrade:+-u} || return
      [ -z "$wanted" ] || pacman -S --noconfirm --needed $wanted
      ;;
    *)
      [ -z "$update" ] || "$manager" -y makecache || return
      [ -z "$upgrade" ] || "$manager" -y upgrade || return
      [ -z "$wanted" ] || "$manager" -y install $wanted
      ;;
  esac
}

apt() { apt-get -q -y -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120 "$@"; }

with_apt() {
  fresh=''
  set +f
  for list in /var/lib/apt/lists/*_Packages*; do [ -e "$list" ] && present=yes || present=''; done
  set -f
  if [ -n "$update$upgrade" ] || [ -z "$present" ]; then
    apt update || return
    fresh=yes
  fi
  [ -z "$upgrade" ] || apt dist-upgrade || return
  [ -n "$wanted" ] || return 0
  apt install $wanted && return
  code=$?
  [ -z "$fresh" ] || return "$code"
  echo 'Once more, with fresh package lists'
  apt update && apt install $wanted
}
`;
