# The first program of a desktop's container: the X server and what belongs to it. When the X server
# ends, so does the container.
set -u
umask 077
mkdir -p "$MULTICLAW_RUN"
cd "$HOME" || exit 1

# Programs may save what they have; the engine's patience bounds this.
trap 'kill -s TERM -- -1; while kill -s 0 -- -1; do sleep 0.1; done 2>/dev/null; exit 0' TERM

Xvfb "$DISPLAY" -screen 0 "$MULTICLAW_SCREEN" -dpi 96 -noreset -nolisten tcp -nolisten local &
x_server=$!
until xrandr >/dev/null 2>&1; do
    if ! kill -s 0 "$x_server"; then
        echo "The X server ended while it started."
        exit 1
    fi
    sleep 0.1
done
# Timings of a monitor that is not there: only the two sizes count.
xrandr --newmode 1280x800 0 1280 0 0 0 800 0 0 0
xrandr --addmode screen 1280x800
xrandr --output screen --mode 1280x800

if command -v pulseaudio >/dev/null; then
    XDG_RUNTIME_DIR=$MULTICLAW_RUN PULSE_STATE_PATH=$MULTICLAW_RUN pulseaudio -n --daemonize=no \
        --use-pid-file=no --realtime=no --high-priority=no --exit-idle-time=-1 --log-target=stderr \
        -L "module-null-sink sink_name=desktop rate=48000" \
        -L "module-suspend-on-idle timeout=1" \
        -L "module-native-protocol-unix socket=$MULTICLAW_RUN/sound auth-cookie=$PULSE_COOKIE" &
fi
while :; do
    openbox
    sleep 1
done &
if command -v xsetroot >/dev/null; then
    xsetroot -solid "#24405c"
fi
if command -v xterm >/dev/null; then
    xterm -geometry 100x30+40+40 -title Terminal -fa "DejaVu Sans Mono" -fs 10 &
fi
: >"$MULTICLAW_RUN/ready"

wait "$x_server"
echo "The X server ended."
exit 1
