"""One network, without a scenario: quantize it, export it, build an engine from the file, see what that executes."""
