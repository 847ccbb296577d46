"""What can be chosen on the page: layers, graphs, mistakes and calibration."""

from harness.report.definitions import definitions
from harness.report.explorer import choosers
from harness.report.layer_views import graph, layer_rows, precision, precision_map, time_map
from harness.report.variants import NONE, groups
from harness.results import Layer, Network, Operator


def chooser(results, key):
    return next((each for each in choosers(results, groups(results)) if each.key == key), None)


def view_of(found, part, name):
    """Of the first choice of this name."""
    place = [each.key for each in found.parts].index(part)
    choice = next(each for each in found.choices if each.name == name)
    return found.parts[place].views[choice.views[place]]


def layer(name, *, int8=False, input_type="float", macs=0):
    return Layer(
        name=name, op="Op", input_type=input_type, weight_type=None, output_type=input_type, macs=macs, int8=int8
    )


def test_the_table_of_layers_tells_precision_work_noise_and_reason(rich):
    rows = view_of(chooser(rich, "layers"), "layers-table", "PTQ max per-channel")
    assert rows[0] == [
        "layer0/conv",
        "QLinearConv",
        "INT8",
        rows[0][3],
        "1,000,000",
        "12.5 %",
        "4.0",
        "2.8 %",  # 1 of 1 + 2 + … + 8
        "31.0 dB",
        "28.0 dB",
        NONE,
    ]
    assert rows[-1][0] == "pool"
    assert rows[-1][-1] == "ONNX Runtime has no integer kernel for it"


def test_variants_with_equal_layers_share_one_table(quickstart):
    found = chooser(quickstart, "layers")
    (tables,) = [part for part in found.parts if part.key == "layers-table"]
    assert len(found.choices) == 22
    assert len(tables.views) == 2


def test_precision_is_what_the_engine_computes_in():
    kinds = [
        layer("a", int8=True),
        layer("b"),
        layer("c", input_type="Half"),
        layer("d", input_type="FP8"),
        layer("e", input_type="f32"),
    ]
    assert [precision(each) for each in kinds] == ["INT8", "FP32", "FP16", "other", "FP32"]


def test_the_map_of_precisions_has_a_cell_for_every_variant_and_weighted_layer(quickstart):
    group = groups(quickstart)[0]
    cells = precision_map(group)["baseOption"]["series"][0]["data"]
    assert len(cells) == 11 * 8
    assert {cell["itemStyle"]["color"] for cell in cells} == {"var(--int8)", "var(--fp32)"}


def test_the_map_of_noise_exists_where_layers_were_compared(rich, quickstart):
    assert view_of(chooser(rich, "layers"), "layers-noise", "PTQ max per-channel") is not None
    (noise,) = [part for part in chooser(quickstart, "layers").parts if part.key == "layers-noise"]
    assert noise.views == ()


def test_the_map_of_times_is_darkest_where_the_time_goes(quickstart):
    group = groups(quickstart)[0]
    cells = time_map(group)["baseOption"]["series"][0]["data"]
    assert len(cells) == 11 * 8  # and none for the pool, whose time is not known
    slowest = next(each for each in cells if "layer7/conv\n64.0 µs, 22.2 %" in each["tip"])
    assert slowest["itemStyle"]["color"] == "var(--heat-7)"


def test_nothing_tells_of_times_where_no_engine_does(latency_only):
    def untimed(row):
        layers = tuple(each.model_copy(update={"time_ms": None}) for each in row.coverage.layers)
        return row.model_copy(update={"coverage": row.coverage.model_copy(update={"layers": layers})})

    results = latency_only.model_copy(update={"rows": tuple(map(untimed, latency_only.rows))})
    parts = {part.key: part for part in chooser(results, "layers").parts}
    assert parts["layers-time"].views == ()
    assert "Time, µs" not in parts["layers-table"].headings
    assert "Time of a layer" not in dict(definitions(results))
    assert "Time of a layer" in dict(definitions(latency_only))


def test_the_graph_leaves_out_what_no_engine_executes_and_keeps_the_connections(quickstart):
    row = quickstart.rows[1]
    network = Network(
        model="resnet",
        operators=(
            Operator(name="layer0/conv", op="Conv"),
            Operator(name="relu", op="Relu", inputs=(0,)),
            Operator(name="layer1/conv", op="Conv", inputs=(1,)),
            Operator(name="pool", op="ReduceMean", inputs=(2, 1)),
        ),
    )
    (series,) = graph(network, [row], row)["series"]
    assert [node["tip"].splitlines()[0] for node in series["data"]] == ["layer0/conv", "layer1/conv", "pool"]
    assert [node["itemStyle"]["color"] for node in series["data"]] == ["var(--int8)", "var(--int8)", "var(--fp32)"]
    assert [(link["source"], link["target"]) for link in series["links"]] == [(0, 1), (1, 2), (0, 2)]
    assert len({(node["x"], node["y"]) for node in series["data"]}) == 3


def test_layers_that_this_engine_merged_are_said_to_be(quickstart):
    fp32, ptq = quickstart.rows[:2]
    part = ptq.coverage.model_copy(update={"layers": ptq.coverage.layers[1:]})
    network = Network(model="resnet", operators=(Operator(name="layer0/conv", op="Conv"),))
    (series,) = graph(network, [fp32], ptq.model_copy(update={"coverage": part}))["series"]
    assert series["data"][0]["tip"].splitlines() == ["layer0/conv", "Conv", "merged"]


def test_rows_without_an_engine_have_no_layers(lossy):
    failed = next(row for row in lossy.rows if row.status == "failed")
    assert layer_rows(failed) is None


def test_confusions_are_named_and_compared_with_fp32(rich):
    view = view_of(chooser(rich, "mistakes"), "mistakes-confusion", "PTQ max per-channel")["baseOption"]
    assert view["yAxis"]["data"] == ["shirt", "coat", "dress"]
    tips = [cell["tip"] for cell in view["series"][0]["data"]]
    assert "coat taken for shirt: 30\nFP32: 21" in tips


def test_classes_are_ordered_by_what_they_lost(rich):
    view = view_of(chooser(rich, "mistakes"), "mistakes-classes", "PTQ max per-channel")["baseOption"]
    assert view["yAxis"]["data"] == ["coat", "shirt", "dress"]


def test_a_histogram_has_a_line_for_every_calibrator(rich):
    view = view_of(chooser(rich, "calibration"), "calibration-histogram", "relu")
    values, *ranges = view["series"]
    assert [each["name"] for each in ranges] == ["max: 6.20", "mse: 4.10", "QAT max per-channel: 5.00"]
    assert [point["value"][0] for point in ranges[1]["data"]] == [4.1, 4.1]
    assert [count for _, count in values["data"]] == [900, 60, 0.5, 1, 1]


def test_records_of_earlier_versions_have_less_to_choose(latency_only):
    assert [each.key for each in choosers(latency_only, groups(latency_only))] == ["layers"]
