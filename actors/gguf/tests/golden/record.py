"""Records what llama.cpp says on the model files of the tests; see README.md."""

import hashlib
import json
import random
import sys
from pathlib import Path

import llama_cpp
import numpy
from llama_cpp import Llama

WORDS = "the tins on other shelf and another thing he said there then in that stone to it is all at sea 7 42 na\u00efve \u6f22\u5b57 \U0001f642".split()
TOKENS = 24
# Words of the prompts that are tried, and how many prompts of each length are kept. The longest take two batches.
LENGTHS = {6: 2, 40: 1, 100: 1}
TRIES = 300


def greedy(model, tokens):
    """The likeliest tokens, and by how much they were the likeliest, in standard deviations of the logits."""
    model.reset()
    model.eval(tokens)
    answer, least, first = [], float("inf"), None
    for _ in range(TOKENS):
        logits = numpy.ctypeslib.as_array(model._ctx.get_logits_ith(-1), shape=(model.n_vocab(),)).copy()
        if first is None:
            first = [round(float(logit), 4) for logit in logits[:64]]
        second, best = numpy.argsort(logits)[-2:]
        least = min(least, float(logits[best] - logits[second]) / float(logits.std()))
        answer.append(int(best))
        model.eval([int(best)])
    return answer, least, first


def record(path):
    model = Llama(str(path), n_ctx=512, n_threads=1, n_batch=512, verbose=False)
    chance = random.Random(7)
    answers = []
    for length, kept in LENGTHS.items():
        found = []
        for _ in range(TRIES if length < 50 else TRIES // 3):
            prompt = " ".join(chance.choices(WORDS, k=length))
            tokens = model.tokenize(prompt.encode(), add_bos=True, special=False)
            answer, least, first = greedy(model, tokens)
            # An answer that only repeats itself says little.
            if len(set(answer)) > 3:
                found.append((least, {"prompt": prompt, "tokens": tokens, "answer": answer, "first_logits": first}))
        found.sort(key=lambda one: -one[0])
        for least, one in found[:kept]:
            print(f"{path.name}: {len(one['tokens'])} tokens, least lead {least:.2f}, {len(found)} tried", file=sys.stderr)
            answers.append(one)
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "answers": answers}


folder = Path(sys.argv[1])
golden = {"llama_cpp_python": llama_cpp.__version__, "models": {}}
for path in sorted(folder.glob("*.gguf")):
    golden["models"][path.stem] = record(path)
out = Path(__file__).with_name("answers.json")
out.write_text(json.dumps(golden) + "\n")
