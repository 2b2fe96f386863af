#!/bin/sh
# deps.sh [demo] - install the Debian packages that the tests (or the demo alone)
# need and this machine lacks. A program that is there in another way, such as a
# newer node, is left alone.
set -eu

missing= services=
need() { # PACKAGE FILE-OR-COMMAND [SERVICE]
	case $2 in
	/*) [ -e "$2" ] && return ;;
	*) command -v "$2" >/dev/null && return ;;
	esac
	missing="$missing $1" services="$services ${3:-}"
}

need systemd /usr/lib/systemd/systemd
need dbus dbus-daemon
need util-linux unshare
need procps pgrep
if [ "${1:-}" != demo ]; then
	need gunicorn /usr/bin/gunicorn
	need nodejs node
	need curl curl
	need nginx-light nginx nginx
	need libserver-starter-perl start_server
	need starman starman
	need starlet /usr/share/perl5/Plack/Handler/Starlet.pm
	need unicorn unicorn unicorn
	need h2o h2o h2o
	need php8.2-fpm php-fpm8.2 php8.2-fpm
	need nghttp2-proxy nghttpx nghttpx
	need gcc gcc
	need libc6-dev /usr/include/stdio.h
	need strace strace
	need runit runsvdir
	need supervisor supervisord supervisor
	need s6 s6-svscan
	need runc runc
	need debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: not root, and these packages are missing:$missing" >&2
	exit 1
fi
# Nothing of it is to run on this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
for service in $services; do # nor after its next start
	update-rc.d "$service" disable
done
