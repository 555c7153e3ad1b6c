# Runs one RabbitMQ node for one test process, and leaves nothing behind.
#
# Started by node.rs in a process group of its own, with everything in the environment. Commands come on stdin, a line
# each; when stdin ends, because the tests have ended or died in whatever way, everything is killed and removed.
set -u
umask 077
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" </dev/null >/dev/null 2>&1 &
epmd=$!
while read -r command; do
    case $command in
        start)
            rm -f "$RABBITMQ_PID_FILE"
            /usr/lib/rabbitmq/bin/rabbitmq-server </dev/null >>"$NODE_DIR/log/stdout" 2>&1 &
            ;;
    esac
done
[ -s "$RABBITMQ_PID_FILE" ] && kill -KILL "$(cat "$RABBITMQ_PID_FILE")"
kill -KILL "$epmd"
wait "$epmd"
rm -rf "$NODE_DIR"
kill -KILL 0
