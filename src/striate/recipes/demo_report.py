"""The report of the demo: what the networks reach, and why the small one wins."""

import os
import platform
from typing import Any

import numpy as np
import torch

from striate import __version__
from striate.analysis.audit import shift_errors
from striate.analysis.matrix import weight_matrices
from striate.analysis.summary import summary
from striate.architectures.backbone import window_graph
from striate.data.formats.mnist1d import generate
from striate.inference.predictor import Predictor, evaluating
from striate.layers.layer import Layer
from striate.recipes.demo import CONTENDERS, DemoResult, Trained, spread
from striate.recipes.run_report import network_table
from striate.report.html import write
from striate.report.pictures import Example, examples, kernels, receptive_fields, weight_matrix
from striate.report.plots import confusion_matrix, error_bars, error_curves, shift_curve
from striate.report.records import Block, Code, Fact, Facts, Listing, Report, Section, Strong, Table, Text

SHIFTS = tuple(range(-10, 11))
DIGITS = tuple(str(digit) for digit in range(10))


def write_demo_report(result: DemoResult) -> None:
    """Write ``result.report``, one self-contained HTML file, from the models of the first seed and all curves."""
    first = {run.contender.key: run for run in result.runs if run.seed == 0}
    predictors = {key: Predictor.from_model(run.model) for key, run in first.items()}
    sections = (
        Section("Result", _headline(result)),
        Section("While they learn", (_curves(first),)),
        Section("Why: one small set of weights, used everywhere", _sharing(first)),
        Section("Why: it knows what is next to what", _permuted(result)),
        Section("What a unit sees", _fields(first["conv"])),
        Section("When the signal moves", _shifted(first, predictors)),
        Section("Which digits are confused", _confused(predictors["conv"])),
        Section("How this was made", _made(result)),
    )
    title = "A convolutional network against fully connected ones"
    subtitle = "MNIST-1D: 4,000 training and 1,000 test signals of 40 numbers, ten classes"
    write(Report(title, subtitle, sections), result.report)


def _test_errors(result: DemoResult) -> dict[str, list[float]]:
    return {one.title: [run.curve["test_error"][-1] for run in result.of(one)] for one in CONTENDERS}


def _headline(result: DemoResult) -> tuple[Block, ...]:
    errors = _test_errors(result)
    facts = []
    for contender in CONTENDERS:
        network = Layer.from_json(result.of(contender)[0].model.network)
        parameters = network.parameters((1, 40))
        facts.append(
            Fact(contender.title, spread(errors[contender.title]), f"test error with {parameters:,} parameters")
        )
    conv = Layer.from_json(result.of(CONTENDERS[0])[0].model.network)
    batch = 100 * conv.multiply_adds((1, 40))
    counting = Text(
        f"The convolutional network does {conv.multiply_adds((1, 40)):,} multiply-adds a signal, {batch / 1e6:.3f} "
        "million for a batch of 100, counting products of weights alone. The lecture's 1.07 million counts the biases "
        "too. The lecture prints 150,185 parameters for the fully connected network with 285, 135 and 60 hidden units; "
        "those have 59,065, and hidden layers of 360 and 365 have exactly 150,185. Both are shown."
    )
    return Facts(tuple(facts)), result.table(), error_bars(errors, "Test error of each network."), counting


def _curves(first: dict[str, Trained]) -> Block:
    histories = {run.contender.title: run.curve for run in first.values()}
    caption = (
        "Error on the training signals (dashed) and on the test signals (solid). The fully connected networks learn "
        "the training signals by heart; what they learn does not carry over."
    )
    return error_curves(histories, caption)


def _sharing(first: dict[str, Trained]) -> tuple[Block, ...]:
    words = (
        "A convolutional layer is a fully connected layer in which most weights are zero and the rest are ",
        Strong("copies"),
        " of a few. The three convolutions here turn 40 values into 15x19 = 285, those into 15x9 = 135 and those into "
        "15x4 = 60: the sizes of the first fully connected network's layers. So each convolution's weights, written "
        "out as the full matrix from all inputs to all outputs, can be laid beside a dense matrix of the same size.",
    )
    blocks: list[Block] = [Text((words,))]
    matrices, dense = _matrices(first["conv"]), _matrices(first["dense-480"])
    blocks.append(
        weight_matrix(
            {
                "conv1, one of 15 kernels": matrices["backbone.conv1"][:19],
                "fully connected": dense["backbone.linear1"][:19],
            },
            "First layers, 19 outputs of 285. Left: 19 positions of one kernel, each reading 3 inputs with the same 3 "
            "weights. Right: 19 units of the fully connected layer, every weight its own.",
        )
    )
    for number in (1, 2, 3):
        pair = {
            f"conv{number}": matrices[f"backbone.conv{number}"],
            f"fully connected layer {number}": dense[f"backbone.linear{number}"],
        }
        blocks.append(weight_matrix(pair, f"Layer {number}, whole: the convolution, and a dense matrix of its size."))
    head = "The last layer: from 15x4 values to the ten classes, dense in both networks."
    blocks.append(weight_matrix({"head": matrices["head.linear"]}, head))
    blocks.append(
        kernels(
            first["conv"].model.weights["backbone.conv1.weight"].numpy(),
            "The 15 kernels the first layer learned: slopes, peaks and smooth weights, each applied at every position.",
        )
    )
    return tuple(blocks)


def _matrices(run: Trained) -> dict[str, np.ndarray[Any, Any]]:
    return weight_matrices(Layer.from_json(run.model.network), run.model.weights, run.model.input_shape)


def _permuted(result: DemoResult) -> tuple[Block, ...]:
    errors = _test_errors(result)
    conv, _, _, permuted = (errors[one.title] for one in CONTENDERS)
    text = Text(
        "The same network, trained on the same signals with their 40 numbers in one fixed shuffled order, has a test "
        f"error of {spread(permuted)} in place of {spread(conv)}. To a fully connected network the order makes no "
        "difference: no weight knows which input is next to which. The convolutional network's advantage is exactly "
        "this knowledge, and it is gone."
    )
    signals, chosen = generate(), [4, 7]
    names = [str(label) for label in signals.test_labels[chosen]]
    plain = torch.tensor(signals.test[chosen], dtype=torch.float32)[:, None]
    model = result.of(CONTENDERS[3])[0].model
    first = next(Layer.from_json(model.network).leaves(model.input_shape))  # the permutation, as the network has it
    shuffled = first.layer.build(*first.input_shapes)(plain)
    items = [
        Example(signal[0].numpy(), name, name)
        for group in (plain, shuffled)
        for signal, name in zip(group, names, strict=True)
    ]
    return text, examples(items, "Two test signals as they are, and in the network's order.", across=4)


def _fields(conv: Trained) -> tuple[Block, ...]:
    network = Layer.from_json(conv.model.network)
    shape = conv.model.input_shape
    graph = window_graph(network, shape)
    layers = []
    for leaf in network.leaves(shape):
        if leaf.name.startswith("backbone.conv"):
            middle = leaf.output_shape[1] // 2
            seen = graph.interval(leaf.name, 0, middle)
            assert seen is not None, "a convolution in the middle of a signal reads something"
            layers.append((leaf.name.removeprefix("backbone."), [seen]))
    figure = receptive_fields(
        generate().test[4],
        layers,
        "The middle unit of each layer and what it sees of the signal: 3, then 7, then 15 positions. The last "
        "layer sees all of them.",
    )
    return figure, network_table(summary(network, shape))


def _shifted(first: dict[str, Trained], predictors: dict[str, Predictor]) -> tuple[Block, ...]:
    signals = generate()
    inputs = torch.tensor(signals.test, dtype=torch.float32)[:, None]
    labels = torch.tensor(signals.test_labels)
    errors = {}
    for key, predictor in predictors.items():
        with evaluating(predictor.module):
            found = shift_errors(predictor.module, inputs, labels, SHIFTS)
        errors[first[key].contender.title] = [error for _, error in found]
    caption = (
        "Test error when the signal is moved by so many positions, zeros entering. A convolution moves with its input; "
        "the linear layer at the end and the stride of 2 do not, so that even this network is not invariant."
    )
    return (shift_curve(SHIFTS, errors, caption),)


def _confused(predictor: Predictor) -> tuple[Block, ...]:
    signals = generate()
    inputs = torch.tensor(signals.test, dtype=torch.float32)[:, None]
    probabilities = predictor.decode(inputs)["probabilities"].numpy()
    answers = probabilities.argmax(1)
    matrix = np.zeros((10, 10), dtype=np.int64)
    np.add.at(matrix, (signals.test_labels, answers), 1)
    wrong = np.flatnonzero(answers != signals.test_labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(1))][:10]
    items = [
        Example(signals.test[i], str(signals.test_labels[i]), str(answers[i]), float(probabilities[i].max()))
        for i in surest
    ]
    blocks: list[Block] = [confusion_matrix(matrix, DIGITS, "The convolutional network on the test signals.")]
    if items:
        blocks.append(examples(items, "Its most confident mistakes."))
    return tuple(blocks)


def _made(result: DemoResult) -> tuple[Block, ...]:
    seeds = sorted({run.seed for run in result.runs})
    text = Text(
        (
            (
                "Every network is an ordinary run: its folder beside this report, under ",
                Code("networks/"),
                ", holds the model file, its own report and its settings.",
            ),
        )
    )
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {platform.system()}"
    rows = (
        ("data", "MNIST-1D, generated (Greydanus and Kobak 2020), seed 42"),
        ("training", f"{result.steps:,} steps of SGD, learning rate 0.01, batch 100, no momentum, no decay"),
        ("seeds", ", ".join(map(str, seeds))),
        ("machine", machine),
        ("versions", f"striate {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
    )
    command = f"striate demo --seeds {len(seeds)}" + (f" --steps {result.steps}" if result.steps != 100_000 else "")
    return text, Table(("", ""), rows, ("left", "left")), Listing(command, "The command.")
