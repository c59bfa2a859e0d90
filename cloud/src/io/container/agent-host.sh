# Starts the agent host of a desktop in place of the one there was; whatever else runs goes on.
set -u
umask 077
mkdir -p "$MULTICLAW_RUN"
cd "$MULTICLAW_RUN" || exit 1

# A number alone may mean another program by now.
former() {
    [ -s agent-host.pid ] && grep -q multiclaw-agent-host "/proc/$(cat agent-host.pid)/cmdline"
}
patience=30
while former 2>/dev/null; do
    signal=TERM
    [ "$patience" -gt 0 ] || signal=KILL
    kill -s "$signal" "$(cat agent-host.pid)"
    patience=$((patience - 1))
    sleep 0.1
done
echo "$$" >agent-host.pid

printf %s "$MULTICLAW_CREDENTIAL" >credential
printf %s "$MULTICLAW_AGENT_HOST" >agent-host.toml
unset MULTICLAW_CREDENTIAL MULTICLAW_AGENT_HOST
until [ -e ready ]; do
    sleep 0.1
done
# What it says joins what the container says.
exec multiclaw-agent-host --config agent-host.toml >/proc/1/fd/1 2>&1
