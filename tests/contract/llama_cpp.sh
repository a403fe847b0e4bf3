#!/usr/bin/env bash
# Holds the `openai` kind against a real server: llama-cpp-python's, serving a model of random weights on loopback. Run by
# hand, because building the server takes minutes; what it streams is kept beside the provider room's golden streams
# (`actors/provider/tests/streams/chat/llama_cpp_*.sse`) and replayed by every `make test`.
#
#   tests/contract/llama_cpp.sh            compare
#   tests/contract/llama_cpp.sh record     keep what the server streams now
set -euo pipefail

readonly wheel='llama-cpp-python[server]==0.3.36'
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$root/.local/llama-cpp/bin/python
work=$(mktemp -d)
chmod 755 "$work" # as root, PostgreSQL runs as another user
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# A free port of loopback.
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# until_answers <url>: waits for a server.
until_answers() {
    for _ in $(seq 120); do
        python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=1)' "$1" 2>/dev/null && return 0
        sleep 0.5
    done
    echo "nothing answers at $1" >&2
    tail -n 20 "$work"/*.log >&2
    return 1
}

bash "$root/scripts/setup.sh"
bash "$here/setup.sh" python
[ -x "$python" ] || python3 -m venv "$root/.local/llama-cpp"
"$python" -c 'import llama_cpp.server' 2>/dev/null || "$python" -m pip install --quiet "$wheel"

cd "$root"
cargo run --quiet -p greenroom-gguf --features testing --example samples -- "$work/models"
cargo build --quiet
llama=$(port)
"$python" -m llama_cpp.server --model "$work/models/llama.gguf" --model_alias tiny --host 127.0.0.1 --port "$llama" \
    --n_ctx 4096 --n_threads 1 >"$work/llama.log" 2>&1 &
door=$(port)
"${CARGO_TARGET_DIR:-target}/debug/greenroom" serve --port "$door" --data-dir "$work/data" >"$work/greenroom.log" 2>&1 &
until_answers "http://127.0.0.1:$llama/v1/models"
until_answers "http://127.0.0.1:$door/readyz"
[ "${1:-}" = record ] && export CONTRACT_RECORD=1
GREENROOM_URL=http://127.0.0.1:$door LLAMA_CPP_URL=http://127.0.0.1:$llama/v1 python3 "$here/llama_cpp.py"
