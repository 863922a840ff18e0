#!/bin/sh
# What `make demo` shows: a server and two clients over loopback, in a folder that goes away.
set -eu
exec 2>&1  # one stream, in order, wherever it goes

folder=$(mktemp -d)
server=
clean_up() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" || true
  fi
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

show() {
  echo "\$ $*"
  "$@"
}

mkdir "$folder/served" "$folder/fetched"
cp data/hello.txt "$folder/served"
echo 'making 256 MiB of random bytes to serve'
head -c 268435456 /dev/urandom >"$folder/served/big.bin"

# The first line on the server's standard output says that it listens, and on which port.
mkfifo "$folder/said"
echo "\$ udpft serve $folder/served --port 0 --json"
udpft serve "$folder/served" --port 0 --json >"$folder/said" 2>"$folder/log" &
server=$!
exec 3<"$folder/said"
if ! read -r line <&3; then
  cat "$folder/log" >&2
  exit 1
fi
echo "$line"
port=$(echo "$line" | sed 's/.*"port": \([0-9]*\).*/\1/')

cd "$folder/fetched"
show udpft get big.bin -s "127.0.0.1:$port"
show udpft get hello.txt -s "127.0.0.1:$port" --mode plain
show cat hello.txt
for name in big.bin hello.txt; do
  cmp "$name" "../served/$name"
done
echo 'Both files are what was served.'
