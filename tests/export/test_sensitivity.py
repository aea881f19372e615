"""The sweep: names, blocks that are taken apart, and a planted bad layer that is found and left out."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export import sensitivity as module
from edgezsad.export.int8 import Prepared, prepare
from edgezsad.export.layers import layers
from edgezsad.export.sensitivity import Error, left_out, sensitivity

SIZE = 96


def pictures(count: int, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    # Brighter and brighter, so that scores are spread out.
    return [generator.integers(0, 256 >> row, (SIZE, SIZE, 3), dtype=np.uint8) for row in range(count)][::-1]


def test_names_and_blocks(exported: Path) -> None:
    found = {layer.name: layer for layer in layers(onnx.load(exported).graph)}
    assert found["conv_stem"].block == "conv_stem"
    assert found["blocks.2.1.conv_pwl"].block == "blocks.2.1"
    assert not any("readout" in name for name in found)
    assert all(layer.operator == "Conv" for layer in found.values()) and len(found) == 48


def test_products_take_their_bias_name() -> None:
    """Transposed weights have lost their name; one without a bias belongs to the block before it."""
    shapes = {"a": (1, 3, 4), "stages_1.blocks.0.attn.qkv.bias": (4,), "val_1": (4, 4), "val_2": (4, 4)}
    stored = [numpy_helper.from_array(np.ones(shapes[name], np.float32), name) for name in list(shapes)[1:]]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes["a"]) for name in ("a", "d")]
    nodes = [
        helper.make_node("MatMul", ["a", "val_1"], ["b"], name="first"),
        helper.make_node("Add", ["b", "stages_1.blocks.0.attn.qkv.bias"], ["c"], name="add"),
        helper.make_node("MatMul", ["c", "val_2"], ["e"], name="second"),
        helper.make_node("MatMul", ["e", "e"], ["d"], name="of activations"),
    ]
    found = layers(helper.make_graph(nodes, "g", ends[:1], ends[1:], stored))
    assert [(layer.name, layer.block) for layer in found] == [
        ("stages_1.blocks.0.attn.qkv", "stages_1.blocks.0"),
        ("second", "stages_1.blocks.0"),
    ]


@pytest.fixture(scope="module")
def prepared(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(exported, pictures(3, 0), tmp_path_factory.mktemp("ranges"))


def test_a_bad_layer_is_found(prepared: Prepared) -> None:
    bad = "blocks.3.1.conv_dw"
    (layer,) = [layer for layer in prepared.layers if layer.name == bad]
    spoilt = prepared.weights | {layer.weights: np.roll(prepared.weights[layer.weights], 1, axis=0)}
    broken = Prepared(**(vars(prepared) | {"weights": spoilt, "layers": prepared.layers[18:30]}))
    found = sensitivity(broken, pictures(3, 1), threads=1, limit=0.2)
    assert found.left_out == (bad,)
    row = found.table.set_index("part").loc[bad]
    assert row["kind"] == "layer" and row["left_out"] == 1 and row["layers"] == 1
    block = found.table.set_index("part").loc["blocks.3.1"]
    assert block["kind"] == "block" and block["left_out"] == 1 and block["layers"] == 3
    # The spoilt block heads the table, the others are not taken apart.
    assert set(found.table["part"][:2]) == {bad, "blocks.3.1"}
    assert (found.table["kind"] == "layer").sum() == 3
    assert found.whole.cost > 0.2 and found.rest.cost < 0.5 * found.whole.cost and found.images == 3
    assert found.result()["left_out"] == [bad]


def test_a_rehearsal_tries_only_layers_of_the_costliest_block(prepared: Prepared) -> None:
    few = Prepared(**(vars(prepared) | {"layers": prepared.layers[18:30]}))
    every, one, none = (sensitivity(few, pictures(3, 1), threads=1, limit=0, apart=apart) for apart in (None, 2, 0))
    blocks = every.table[every.table["kind"] == "block"]
    assert len(blocks) == 4
    costliest = blocks["part"].iloc[0]
    taken = one.table.loc[(one.table["kind"] == "layer"), "part"]
    assert len(taken) == 2 and all(name.startswith(f"{costliest}.") for name in taken)
    # What is measured of a part does not depend on which others are.
    columns = ["part", "score_error", "map_error"]
    kept = every.table[every.table["part"].isin(one.table["part"])]
    assert kept[columns].reset_index(drop=True).equals(one.table[columns])
    assert set(none.table["kind"]) == {"block"} and none.left_out == ()


def test_which_layers_are_left_out() -> None:
    """Above the limit, the most squared error for the fewest weights first, until the share is used up."""
    rows = [
        ("a.0", "block", 2, 1.0, 0.5, 0.5),
        ("a.0.x", "layer", 1, 10.0, 0.02, 0.04),
        ("a.0.y", "layer", 1, 1.0, 0.02, 0.01),
        ("b", "layer", 1, 1.0, 0.005, 0.009),
        ("c", "layer", 1, 30.0, 0.03, 0.03),
        ("d", "layer", 1, 1.0, 0.03, 0.0),
    ]
    table = pd.DataFrame(rows, columns=["part", "kind", "layers", "weights", "score_error", "map_error"])
    assert left_out(table, 1000, limit=0.01, share=0.02) == ("d", "a.0.y", "a.0.x")
    assert left_out(table, 1000, limit=0.01, share=1) == ("d", "a.0.y", "a.0.x", "c")
    assert left_out(table, 1000, limit=0.025, share=0.02) == ("d", "a.0.x")
    assert left_out(table, 1000, limit=0.1, share=1) == ()


def test_no_images(prepared: Prepared) -> None:
    with pytest.raises(InputError, match="no held-out source images"):
        sensitivity(prepared, [])


def test_error_in_units_of_the_spread() -> None:
    reference = np.array([0.0, 2.0])
    assert module._relative(reference + 0.5, reference) == pytest.approx(0.5)
    assert module._relative(np.ones(3), np.zeros(3)) == pytest.approx(1.0)
    assert Error(0.1, 0.3).cost == 0.3
