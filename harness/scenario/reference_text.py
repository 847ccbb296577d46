"""The prose of the reference page, and the example that it shows."""

OPENING = """\
# Scenario reference

<!-- Generated from the schema: `python -m harness.scenario.reference`. Edit harness/scenario/, not this page. -->

A scenario is one YAML file. It names models, quantization variants and deployment targets, and one command,
`harness run FILE`, answers its question.

- The file is read as YAML 1.2, as data only: `on`, `off`, `yes` and `no` are texts; a key that is given twice, an
  unknown key and a tag that would build an object are errors.
- Where a list is expected, one value stands for a list of one. A section whose keys are all left out has its defaults.
- A *name* consists of lower-case letters, digits, `_`, `.` and `-` (64 at most; `.` and `-` not at its ends).
- Paths are relative to the project root: the nearest folder, from that of the file upwards, that holds `models/`,
  `pyproject.toml` or `.git`; else the folder of the file.
- The keys of `quantization_params` and `qat_params` are those of SuperGradients' recipes and of its
  `QATRecipeModificationCallback`: such a block can be pasted.

## Example
"""

EXAMPLE = """\
name: ptq-or-qat
question: Is PTQ enough, or does QAT pay?
dataset:
  source: fashion_mnist
models:
  resnet8:
    factory: models/resnet.py:resnet8
    args: {width: 16}
    training: {max_epochs: 6}
quantization_params:
  selective_quantizer_params: {calibrator_i: histogram, per_channel: true}
  calib_params: {histogram_calib_method: percentile, percentile: 99.99}
targets:
  onnxruntime: {threads: 1}
matrix:
  method: [fp32, ptq, qat]
  calibrator: [max, percentile, entropy, mse]
  per_channel: [true, false]
  exclude:
    - {method: qat, calibrator: [max, entropy, mse]}
  include:
    - {method: ptq, skip: [[fc]]}
verdict: {accuracy_margin: 0.005}
"""

SOURCE_ARGS = """\
### `dataset.args`

What each data source takes; `calib_dataset.args` takes the same. [Data](data.md) says how files are read.
"""

CLOSING = """\
## How the matrix is expanded

1. Every combination of the axes is a variant. `fp32`, `fp16` and `bf16` quantize nothing, so they are one row for each
   model, target and batch size. `percentile` multiplies the calibrator `percentile` only. `ptq_only: true` and
   toolkits other than `harness` have no `qat` rows.
2. A variant that matches every key of one `exclude` entry is left out. A quantization axis (`toolkit`, `calibrator`,
   `percentile`, `per_channel`, `weight_bits`, `activation_bits`, `skip`) never matches an `fp32`, `fp16` or `bf16`
   row; a QAT axis (`learn_amax`, `batch_norm`, `qat_seed`) matches `qat` rows only.
3. Each `include` entry adds the product of its own axes; an axis that it leaves out has the first value of the matrix
   axis, so name the `method` when you name a quantization axis. Variants that exist already are not repeated.
4. The `fp32` row of every model, target and batch size is added where it is missing: the others are judged against it.

Rows are ordered by model, target and batch size, each in the order in which it was named, then `fp32`, `fp16`, `bf16`,
`ptq`, `qat`. An entry that matches or adds nothing, an axis without values and a matrix without variants are errors.

## Variant ids

`MODEL-METHOD-TARGET-bBATCH` for `fp32`, `fp16` and `bf16`, for instance `resnet8-fp32-onnxruntime-b1`. Quantized rows
add, after the method: the toolkit unless it is `harness`, the calibrator (`percentile99.99`), `perchannel` or
`pertensor`, the bits unless both are 8 (`w4a8`), and the skip set unless it is empty (`skip-fc`, or a digest of a long
one). `qat` rows add `learned` for learned ranges, `bnfrozen` or `bnlive`, and each seed of a `qat_seed` axis
(`seed1`): `resnet8-ptq-percentile99.99-perchannel-onnxruntime-b1`. Ids do not depend on the order of the axes.

## Errors

Every problem of a file is reported at once, each with `file:line:column`, what was found, what is allowed and how to
fix it. The command ends with exit code 2, and nothing was started.
"""
