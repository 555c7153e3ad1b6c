# Runs one Redis or Valkey for one test process, and leaves nothing behind.
#
# Started by store.rs in a process group of its own: guard.sh FOLDER PROGRAM. Commands come on stdin, a line each; when stdin
# ends, because the tests have ended or died in whatever way, everything is killed and removed.
set -u
umask 077
cd "$1" || exit 1
while read -r command; do
    case $command in
        start)
            "$2" redis.conf </dev/null >>log 2>&1 &
            echo $! >pid.new && mv pid.new pid
            ;;
    esac
done
[ -s pid ] && kill -KILL "$(cat pid)"
cd / && rm -rf "$1"
kill -KILL 0
