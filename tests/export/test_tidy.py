from onnx import ModelProto, TensorProto, helper

from export.tidy import tidy


def _traced_model() -> ModelProto:
    nodes = [
        helper.make_node("Relu", ["image"], ["relu_17"], name="node_relu_1043", doc_string="File network.py, line 5"),
        helper.make_node("Mul", ["relu_17", "val_31"], ["mul_9"], name="node_mul"),
        helper.make_node("Relu", ["mul_9"], ["scores"], name="node_relu_1044"),
    ]
    nodes[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/network.py")
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [2])],
        [helper.make_tensor("val_31", TensorProto.FLOAT, [1], [3.0])],
        doc_string="the whole program",
        value_info=[helper.make_tensor_value_info("relu_17", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 20)])
    model.metadata_props.add(key="range_constraints", value="{}")
    return model


def test_names_tell_operator_and_place_and_the_graph_stays_connected() -> None:
    graph = tidy(_traced_model(), {}).graph
    assert [(node.name, list(node.input), list(node.output)) for node in graph.node] == [
        ("Relu_0", ["image"], ["Relu_0_out"]),
        ("Mul_0", ["Relu_0_out", "constant_0"], ["Mul_0_out"]),
        ("Relu_1", ["Mul_0_out"], ["scores"]),
    ]
    assert [weight.name for weight in graph.initializer] == ["constant_0"]


def test_the_given_metadata_are_the_only_free_text() -> None:
    model = tidy(_traced_model(), {"stage": "fine", "release": "1.2.3"})
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("release", "1.2.3"), ("stage", "fine")]
    assert (model.producer_name, model.producer_version) == ("attention-dmfnet", "1.2.3")
    text = model.SerializeToString()
    for trace in (b"network.py", b"someone", b"program", b"pytorch", b"range_constraints"):
        assert trace not in text


def test_the_model_that_was_given_is_left_alone() -> None:
    model = _traced_model()
    tidy(model, {"stage": "fine"})
    assert model == _traced_model()
