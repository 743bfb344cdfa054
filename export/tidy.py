"""An exported ONNX model without the traces of where and how it was made.

The exporter leaves stack traces with the paths of the machine, the whole program as text, and names that count on
from whatever was exported before. Without them the same weights give the same bytes, in a file a tenth smaller.
"""

from collections import Counter
from collections.abc import Mapping

import onnx

PRODUCER = "attention-dmfnet"


def tidy(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of ``model`` with ``metadata`` as the only free text in it.

    Nodes and the tensors between them are named after their operator and place (``Conv_12``); inputs, outputs and
    weights keep their names.
    """
    tidied = onnx.ModelProto()
    tidied.CopyFrom(model)
    _clear_text(tidied)
    _name_by_place(tidied.graph)
    tidied.producer_name, tidied.producer_version = PRODUCER, metadata.get("release", "")
    for key in sorted(metadata):
        tidied.metadata_props.add(key=key, value=metadata[key])
    return tidied


def _clear_text(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.name = PRODUCER
    # shapes of the tensors in between: every reader infers them from the fixed input
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]


def _name_by_place(graph: onnx.GraphProto) -> None:
    kept = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    count: Counter[str] = Counter()
    for index, weight in enumerate(graph.initializer):
        # weights that were folded into one another are named by a counter of the exporter
        if weight.name.startswith("val_"):
            renamed[weight.name] = f"constant_{index}"
            weight.name = renamed[weight.name]
    for node in graph.node:
        node.name = f"{node.op_type}_{count[node.op_type]}"
        count[node.op_type] += 1
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        for i, name in enumerate(node.output):
            if name and name not in kept:
                renamed[name] = f"{node.name}_out" if len(node.output) == 1 else f"{node.name}_out{i}"
                node.output[i] = renamed[name]
