#!/bin/sh
# The store, Valkey or Redis, with its password in a file of its own rather than on the command line.
set -eu
umask 077
quoted=$(printf %s "$STORE_PASSWORD" | sed 's/[\\"]/\\&/g')
{ cat /etc/store/store.conf; printf 'requirepass "%s"\n' "$quoted"; } > /tmp/store.conf
exec "$(command -v valkey-server || command -v redis-server)" /tmp/store.conf
