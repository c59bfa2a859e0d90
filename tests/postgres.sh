#!/bin/sh
# Runs a command beside a PostgreSQL of its own, which ends with it:
#   tests/postgres.sh cargo nextest run --workspace --features tests/net -E 'package(cloud)'
# The command finds MULTICLAW_TEST_POSTGRES, an address, and POSTGRES_RESTART, a command that restarts
# the server as a crash would. The server listens on a Unix socket only and runs as an unprivileged user.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
place=$(mktemp -d /tmp/multiclaw-postgres.XXXXXX)
as=
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root; Debian's package made this user.
    chown postgres "$place"
    as="runuser -u postgres --"
fi

# The processes of the machine outlive these files, so nothing has to reach the disk.
options="-k $place -c listen_addresses= -c fsync=off -c max_connections=400 -c shared_buffers=32MB"
cd "$place"
stop() {
    $as "$bin/pg_ctl" -D "$place/data" -m immediate -s stop || true
    rm -rf "$place"
}
trap stop EXIT
trap 'exit 143' TERM INT HUP
$as "$bin/initdb" -D "$place/data" -U postgres --auth=trust --no-sync -E UTF8 --locale=C >/dev/null
$as "$bin/pg_ctl" -D "$place/data" -l "$place/log" -o "$options" -w -s start
cd - >/dev/null

MULTICLAW_TEST_POSTGRES="postgres:///postgres?host=$place&user=postgres"
POSTGRES_RESTART="$as $bin/pg_ctl -D $place/data -m immediate -l $place/log -w -s restart"
export MULTICLAW_TEST_POSTGRES POSTGRES_RESTART
# In the background, so that a signal is heard while it runs; its input stays ours, which a shell
# would otherwise replace with nothing.
exec 3<&0
"$@" <&3 3<&- &
command=$!
status=0
wait "$command" || status=$?
exit "$status"
