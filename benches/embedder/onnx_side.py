"""The other side of the embedder's bench: the same model in ONNX Runtime on the CPU.

Builds the graph from the safetensors in the plain form of an exported BERT, which ONNX Runtime's optimiser then fuses
(layer norms with their residuals, GELU with its bias, scaled products). Speaks JSON lines: a request names texts and how
often to run them; the answer has the time of each run in milliseconds, of the session alone, and the vectors when asked.
"""

import json
import struct
import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

LAYERS, HEADS, HEAD, WIDTH = 6, 12, 32, 384
LONGEST = 256


def read_weights(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    return {
        name: np.frombuffer(data[slice(*info["data_offsets"])], dtype=np.float32).reshape(info["shape"])
        for name, info in header.items()
        if name != "__metadata__" and info["dtype"] == "F32"
    }


def build(weights):
    nodes, constants = [], []

    def constant(array, dtype=np.float32):
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=dtype), name))
        return name

    def op(kind, inputs, **attributes):
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def norm(x, name):
        gain, bias = constant(weights[f"{name}.weight"]), constant(weights[f"{name}.bias"])
        return op("LayerNormalization", [x, gain, bias], axis=-1, epsilon=1e-12)

    def linear(x, name):
        product = op("MatMul", [x, constant(weights[f"{name}.weight"].T)])
        return op("Add", [product, constant(weights[f"{name}.bias"])])

    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = op("Gather", [constant(weights["embeddings.word_embeddings.weight"]), "ids"])
    x = norm(op("Add", [words, op("Gather", [constant(places), "places"])]), "embeddings.LayerNorm")
    hidden = op("Unsqueeze", ["mask", constant([1, 2], np.int64)])
    hidden = op("Mul", [op("Sub", [constant(1.0), hidden]), constant(-10000.0)])
    split, join = constant([0, 0, HEADS, HEAD], np.int64), constant([0, 0, WIDTH], np.int64)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (op("Reshape", [linear(x, f"{name}.attention.self.{n}"), split]) for n in ("query", "key", "value"))
        q, v = op("Transpose", [q], perm=[0, 2, 1, 3]), op("Transpose", [v], perm=[0, 2, 1, 3])
        scores = op("MatMul", [q, op("Transpose", [k], perm=[0, 2, 3, 1])])
        scores = op("Add", [op("Div", [scores, constant(HEAD**0.5)]), hidden])
        mixed = op("MatMul", [op("Softmax", [scores], axis=-1), v])
        mixed = op("Reshape", [op("Transpose", [mixed], perm=[0, 2, 1, 3]), join])
        mixed = linear(mixed, f"{name}.attention.output.dense")
        x = norm(op("Add", [mixed, x]), f"{name}.attention.output.LayerNorm")
        wide = linear(x, f"{name}.intermediate.dense")
        erf = op("Add", [op("Erf", [op("Div", [wide, constant(2**0.5)])]), constant(1.0)])
        wide = op("Mul", [op("Mul", [wide, erf]), constant(0.5)])
        x = norm(op("Add", [linear(wide, f"{name}.output.dense"), x]), f"{name}.output.LayerNorm")
    nodes.append(helper.make_node("Identity", [x], ["out"]))
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "minilm",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("places", TensorProto.INT64, shape),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, shape),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [*shape, WIDTH])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main():
    folder, threads = sys.argv[1], int(sys.argv[2])
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    model = build(read_weights(f"{folder}/model.safetensors")).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()
    print(json.dumps({"version": ort.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        encoded = tokenizer.encode_batch(request["texts"])
        mask = np.array([text.attention_mask for text in encoded], dtype=np.float32)
        ids = np.array([text.ids for text in encoded], dtype=np.int64)
        feed = {"ids": ids, "places": np.tile(np.arange(ids.shape[1]), (len(ids), 1)), "mask": mask}
        times = []
        for _ in range(request["runs"]):
            begin = time.perf_counter()
            (out,) = session.run(None, feed)
            times.append(1000 * (time.perf_counter() - begin))
        answer = {"ms": times, "tokens": int(mask.sum())}
        if request["vectors"]:
            means = (out * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            answer["vectors"] = (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()
        print(json.dumps(answer), flush=True)


main()
