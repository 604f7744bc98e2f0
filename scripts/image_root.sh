#!/usr/bin/env bash
# Make the root of the image: Python, the proxy with what it needs, iptables, and nothing that could be run besides.
#
#   scripts/image_root.sh FOLDER
#
# Runs in the Dockerfile's first stage, or in any Debian 12 with the packages that it installs, as root: the proxy is
# installed to /opt/sidecar, which must not be there yet, and copied from there.  Fails where what it made does not work
# (scripts/image_check.py), or is larger than 150 MB.  The proxy is installed in compiled form, which needs gcc,
# libc6-dev and python3-dev here and none of them in the image; SIDECAR_COMPILE=0 installs the pure one.
set -euo pipefail

root=${1:?usage: scripts/image_root.sh FOLDER}
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=/opt/sidecar
limit=150  # MB
[ ! -e "$home" ] || { printf '%s is there already\n' "$home" >&2; exit 1; }

/usr/bin/python3 -m venv "$home"
export SIDECAR_COMPILE=${SIDECAR_COMPILE:-1}
"$home/bin/pip" install --quiet --disable-pip-version-check "$source"
version=$("$home/bin/python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
packages=$home/lib/$version/site-packages

# What the proxy never loads; the rest without the symbols of debuggers.
/usr/bin/python3 "$source/scripts/image_trim.py" "$packages"
rm -rf "$home"/bin/[Aa]ctivate* "$home"/bin/pip* "$home"/include
find "$home" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true

mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc/ssl,opt,proc,sys,dev,run}
mkdir -m 1777 "$root/tmp"
ln -s usr/bin "$root/bin"; ln -s usr/sbin "$root/sbin"; ln -s usr/lib "$root/lib"; ln -s usr/lib64 "$root/lib64"

# Copy files with the folders that lead to them; links stay as they are.
take() {
  tar --create --absolute-names --transform='s,^/,./,S' "$@" |
    tar --extract --directory="$root" --keep-directory-symlink
}

python=$(readlink -f /usr/bin/python3)
interpreter=(/usr/bin/python3 "$python" "/usr/lib/$version")
programs=(/usr/sbin/iptables /usr/sbin/iptables-restore /usr/sbin/ip6tables /usr/sbin/ip6tables-restore
  /usr/sbin/iptables-nft /usr/sbin/iptables-nft-restore /usr/sbin/ip6tables-nft /usr/sbin/ip6tables-nft-restore
  /usr/sbin/xtables-nft-multi /etc/alternatives/iptables /etc/alternatives/iptables-restore
  /etc/alternatives/ip6tables /etc/alternatives/ip6tables-restore)
modules=$(dirname "$(find /usr/lib -name libxt_owner.so | head -1)")

take "${interpreter[@]}" "${programs[@]}" "$modules" "$home" /etc/ssl/certs /usr/share/ca-certificates
/usr/bin/python3 "$source/scripts/image_trim.py" "$root$packages" "$root/usr/lib/$version"

# Every library that a program or a module asks for, by the name that the loader looks for.
libraries=$({ find "$root" -type f \( -name '*.so*' -o -path '*/bin/*' -o -path '*/sbin/*' \) -exec ldd {} + 2>/dev/null || true; } |
  sed -n 's/.* => \(\/[^ ]*\).*/\1/p; s/^\t\(\/[^ ]*ld-linux[^ ]*\).*/\1/p' | sort -u)
for library in $libraries; do
  case $library in "$home"/*) continue ;; esac
  real=$(readlink -f "$library")
  mkdir -p "$root$(dirname "$real")"
  cp -n "$real" "$root$real"
  # The name by which it is asked for, beside it: folders of that name are links to this one.
  link=$(dirname "$real")/$(basename "$library")
  [ -e "$root$link" ] || ln -s "$(basename "$real")" "$root$link"
done
# The loader, at the fixed place that programs name.
for loader in /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1; do
  if [ -e "$loader" ] && ! [ -e "$root$loader" ]; then cp "$(readlink -f "$loader")" "$root$loader"; fi
done

printf 'root:x:0:0::/:/nowhere\nsidecar:x:1337:1337::/:/nowhere\n' >"$root/etc/passwd"
printf 'root:x:0:\nsidecar:x:1337:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
ldconfig -r "$root"

"$python" "$source/scripts/image_sbom.py" "$root" "$packages" >"$root/sbom.json"
rm -rf "$home"

# It works with nothing but what is in it, and is as small as it is said to be.
chroot "$root" /opt/sidecar/bin/python -B - <"$source/scripts/image_check.py" >&2
size=$(du -sm --apparent-size "$root" | cut -f1)
printf '%s MB\n' "$size" >&2
[ "$size" -lt "$limit" ] || { printf 'the image is to be smaller than %s MB\n' "$limit" >&2; exit 1; }
