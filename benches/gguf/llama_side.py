"""llama.cpp, asked line by line over a pipe: reads a prompt, then chooses the likeliest token again and again."""

import json
import sys
import time

import numpy
from llama_cpp import Llama


def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


before = resident_mb()
began = time.perf_counter()
threads = int(sys.argv[2])
model = Llama(sys.argv[1], n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
print(json.dumps({"load_ms": (time.perf_counter() - began) * 1e3}), flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    tokens = model.tokenize(asked["prompt"].encode(), add_bos=True, special=False)
    model.reset()
    began = time.perf_counter()
    model.eval(tokens)
    prefill = len(tokens) / (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(asked["tokens"]):
        logits = numpy.ctypeslib.as_array(model._ctx.get_logits_ith(-1), shape=(model.n_vocab(),))
        model.eval([int(logits.argmax())])
    decode = asked["tokens"] / (time.perf_counter() - began)
    print(json.dumps({"prefill": prefill, "decode": decode, "resident_mb": resident_mb() - before}), flush=True)
