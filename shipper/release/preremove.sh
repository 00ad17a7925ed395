#!/bin/sh
set -e
# dpkg says remove, rpm says 0; an upgrade stops nothing
case $1 in
    remove | 0)
        [ ! -d /run/systemd/system ] || systemctl disable --now shipper-host.service
        ;;
esac
case $1 in
    remove | upgrade | 0) find /usr/lib/metrics-shipper -name __pycache__ -prune -exec rm -r {} + ;;
esac
