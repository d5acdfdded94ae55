// The shell functions for users: by useradd and its kin where the image has them, else by editing the files themselves, which are the
// same everywhere. Applets of busybox are not used: which of them exist, and what they take, differs from image to image.

export const USER_FUNCTIONS = `
# NAME [system]
add_group() {
  if listed /etc/group "$1"; then return 0; fi
  if has groupadd; then
    groupadd \${2:+--system} "$1"
  elif [ -n "$2" ]; then
    add_line /etc/group "$1:x:$(free_id /etc/group 100):"
  else
    add_line /etc/group "$1:x:$(free_id /etc/group 1000):"
  fi
}

# GROUP USER
join_group() {
  if ! listed /etc/passwd "$2"; then
    echo "There is no user $2"
    return 1
  fi
  if has usermod; then
    usermod --append --groups "$1" "$2"
    return
  fi
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      "$1":*)
        members=\${line##*:}
        case ,$members, in *,"$2",*) ;; ,,) line=$line$2 ;; *) line=$line,$2 ;; esac
        ;;
    esac
    printf '%s\\n' "$line"
  done </etc/group | replace /etc/group
}

# NAME UID GECOS HOME SHELL PRIMARY-GROUP "GROUP …" "system no-home no-group" STAGED-HASH
add_user() {
  for group in $7; do add_group "$group" || return; done
  if listed /etc/passwd "$1"; then
    echo "There is a user $1 already; it is kept, with its id, home directory and shell"
  else
    create_user "$@" || return
    if [ -n "$9" ]; then set_password "$1" "$9" '' || return; fi
  fi
  for group in $7; do join_group "$group" "$1" || return; done
}

create_user() {
  name=$1 uid=$2 gecos=$3 home=$4 shell=$5 primary=$6
  system='' make_home=yes own_group=yes first=1000
  for option in $8; do
    case $option in
      system) system=yes first=100 ;;
      no-home) make_home='' ;;
      no-group) own_group='' ;;
    esac
  done
  [ -z "$shell" ] || [ -x "$shell" ] || echo "Note: there is no $shell in this image; $name cannot log in until there is"
  if [ -n "$primary" ]; then
    add_group "$primary" || return
  elif listed /etc/group "$name"; then
    primary=$name
  fi
  if has useradd; then
    set -- --home-dir "$home" --comment "$gecos"
    [ -z "$uid" ] || set -- "$@" --uid "$uid"
    [ -z "$shell" ] || set -- "$@" --shell "$shell"
    [ -z "$system" ] || set -- "$@" --system
    if [ -n "$primary" ]; then set -- "$@" --gid "$primary"
    elif [ -n "$own_group" ]; then set -- "$@" --user-group
    else set -- "$@" --no-user-group; fi
    if [ -n "$make_home" ]; then set -- "$@" --create-home; else set -- "$@" --no-create-home; fi
    useradd "$@" "$name"
    return
  fi
  # No tools for it in this image, or only some applets: the files themselves are the same everywhere.
  if [ -z "$uid" ]; then
    uid=$(free_id /etc/passwd "$first")
  elif taken /etc/passwd "$uid"; then
    echo "The user id $uid is taken"
    return 1
  fi
  if [ -z "$primary" ] && [ -n "$own_group" ]; then
    primary=$name
    if taken /etc/group "$uid"; then gid=$(free_id /etc/group "$first"); else gid=$uid; fi
    add_line /etc/group "$name:x:$gid:" || return
  elif [ -z "$primary" ]; then
    primary=users
    add_group users || return
  fi
  gid=$(field /etc/group "$primary" 3) || return
  add_line /etc/passwd "$name:x:$uid:$gid:$gecos:$home:\${shell:-/bin/sh}" || return
  put_password "$name" '*' '' || return
  [ -n "$make_home" ] && [ ! -d "$home" ] || return 0
  make_parents "$home" 0:0 && mkdir "$home" && chmod 0750 "$home" || return
  if [ -d /etc/skel ]; then cp -r /etc/skel/. "$home" || return; fi
  chown -R "$uid:$gid" "$home"
}

# USER FIELD CHANGED: the password field of /etc/shadow, and when CHANGED is not empty the day of the last change.
put_password() {
  if ! listed /etc/passwd "$1"; then
    echo "There is no user $1"
    return 1
  fi
  [ -e /etc/shadow ] || (umask 077 && printf '' >/etc/shadow) || return
  if listed /etc/shadow "$1"; then
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in
        "$1":*)
          line=\${line#*:}
          line=\${line#*:}
          [ -z "$3" ] || line=$3:\${line#*:}
          line=$1:$2:$line
          ;;
      esac
      printf '%s\\n' "$line"
    done </etc/shadow | replace /etc/shadow || return
  else
    add_line /etc/shadow "$1:$2:$3:0:99999:7:::" || return
  fi
  [ "$(field /etc/passwd "$1" 2)" != x ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      "$1":*)
        line=\${line#*:}
        line=$1:x:\${line#*:}
        ;;
    esac
    printf '%s\\n' "$line"
  done </etc/passwd | replace /etc/passwd
}

# USER STAGED-HASH CHANGED
set_password() {
  IFS= read -r hash <"$stage/$2"
  put_password "$1" "$hash" "$3"
}

# USER. By "*" and not by "!": an sshd without PAM lets nobody in whose field begins with that, not even by key.
lock_password() {
  now=$(field /etc/shadow "$1" 2)
  case $now in
    '' | '!' | '!!') put_password "$1" '*' '' ;;
    '!'* | '*'*) ;;
    *) put_password "$1" "*$now" '' ;;
  esac
}

# USER STAGED-KEYS
authorize() {
  home=$(field /etc/passwd "$1" 6) uid=$(field /etc/passwd "$1" 3) gid=$(field /etc/passwd "$1" 4)
  if [ -z "$home" ] && [ "$1" = root ]; then home=/root uid=0 gid=0; fi
  if [ -z "$home" ]; then
    echo "There is no user $1, or it has no home directory"
    return 1
  fi
  home=\${home%/}
  if [ ! -d "$home/" ]; then
    make_parents "$home" 0:0 && mkdir "$home" && chmod 0700 "$home" && chown "$uid:$gid" "$home" || return
  fi
  if [ ! -d "$home/.ssh" ]; then mkdir "$home/.ssh" || return; fi
  {
    lines "$home/.ssh/authorized_keys"
    while IFS= read -r key; do has_line "$home/.ssh/authorized_keys" "$key" || printf '%s\\n' "$key"; done <"$stage/$2"
  } | (umask 077 && replace "$home/.ssh/authorized_keys") || return
  chmod 0700 "$home/.ssh" && chmod 0600 "$home/.ssh/authorized_keys" && chown "$uid:$gid" "$home/.ssh" "$home/.ssh/authorized_keys"
}

# STAGED
allow_sudo() {
  if has visudo && ! visudo -cf "$stage/$1"; then return 1; fi
  [ -d /etc/sudoers.d ] || { mkdir -p /etc/sudoers.d && chmod 0750 /etc/sudoers.d; } || return
  (umask 077 && cat "$stage/$1" >/etc/sudoers.d/90-cloud-init-users) && chmod 0440 /etc/sudoers.d/90-cloud-init-users || return
  # Where sudo is not installed yet, its package brings a file that has this line.
  [ -f /etc/sudoers ] || return 0
  has_line /etc/sudoers '@includedir /etc/sudoers.d' || has_line /etc/sudoers '#includedir /etc/sudoers.d' || add_line /etc/sudoers '#includedir /etc/sudoers.d'
}
`;
