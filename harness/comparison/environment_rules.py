"""What a difference in each condition means for comparing the figures of two runs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from harness.results.comparison import Severity

Quantity = Literal["accuracy", "latency", "memory", "energy"]

TIMES: Final[tuple[Quantity, ...]] = ("latency", "energy")
MACHINE: Final[tuple[Quantity, ...]] = ("latency", "memory", "energy")
EVERYTHING: Final[tuple[Quantity, ...]] = ("accuracy", "latency", "memory", "energy")


class EnvironmentRule(NamedTuple):
    """How grave it is that two runs differ in what `pattern` names."""

    pattern: str
    """Dotted place in the environment, with `*` for any text."""
    severity: Severity | None
    """None: it changes from minute to minute and is never a difference."""
    affects: tuple[Quantity, ...]
    subject: str
    """`{name}` stands for the place without its first part, `{leaf}` for its last part, `{place}` for all of it."""
    why: str
    absent_is_none: bool = False
    """A place that is not there means that there is no such thing, as long as anything about the group is recorded."""


RULES: Final = (  # the first pattern that fits counts
    # What times cannot be compared across.
    EnvironmentRule("architecture", "refuse", MACHINE, "architecture", "another architecture runs other kernels"),
    EnvironmentRule("cpu.model", "refuse", TIMES, "CPU", "times of different CPUs do not show what the change did"),
    EnvironmentRule(
        "cpu.usable_cores", "refuse", TIMES, "number of usable cores", "more or fewer cores are another machine"
    ),
    EnvironmentRule(
        "cpu.quota_cores", "refuse", TIMES, "CPU quota of the container", "a quota stops a process in mid-inference"
    ),
    EnvironmentRule("cpu.flags.*", "refuse", MACHINE, "instruction set {leaf}", "integer kernels are chosen by it"),
    EnvironmentRule(
        "gpus.*.name",
        "refuse",
        MACHINE,
        "GPU",
        "times of different GPUs do not show what the change did",
        absent_is_none=True,
    ),
    EnvironmentRule(
        "gpus.*.mig_mode_current", "refuse", MACHINE, "GPU partitioning (MIG)", "a part of a GPU is another GPU"
    ),
    # What changes by the minute, or repeats another entry.
    EnvironmentRule("load_average*", None, (), "", ""),
    EnvironmentRule("peak_gmacs_per_s*", None, (), "", ""),
    EnvironmentRule("cpu.clocks_mhz.current", None, (), "", ""),
    EnvironmentRule("gpus.*.clocks_sm", None, (), "", ""),
    EnvironmentRule("gpus.*.clocks_mem", None, (), "", ""),
    EnvironmentRule("gpus.*.pstate", None, (), "", ""),
    EnvironmentRule("gpus.*.temperature_gpu", None, (), "", ""),
    EnvironmentRule("gpus.*.utilization_gpu", None, (), "", ""),
    EnvironmentRule("gpus.*.compute_cap", None, (), "", ""),
    EnvironmentRule("git.commit", "note", EVERYTHING, "commit", "the code differs"),
    # What may explain a difference.
    EnvironmentRule(
        "packages.*",
        "warn",
        EVERYTHING,
        "version of {name}",
        "the library may be what changed the figures",
        absent_is_none=True,
    ),
    EnvironmentRule("python", "warn", EVERYTHING, "Python version", "it may be what changed the figures"),
    EnvironmentRule(
        "harness", "warn", EVERYTHING, "version of the harness", "what is measured, and how, may have changed"
    ),
    EnvironmentRule("blas.*", "warn", EVERYTHING, "BLAS library ({name})", "training and float kernels may differ"),
    EnvironmentRule("kernel", "warn", TIMES, "kernel", "scheduling and mitigations may differ"),
    EnvironmentRule("cpu.governor", "warn", TIMES, "CPU frequency governor", "it decides how fast the clock rises"),
    EnvironmentRule(
        "cpu.frequency_driver", "warn", TIMES, "driver of the CPU's clock", "it decides how fast the clock rises"
    ),
    EnvironmentRule("cpu.turbo", "warn", TIMES, "CPU turbo", "clocks then differ under load"),
    EnvironmentRule("cpu.smt", "warn", TIMES, "simultaneous multithreading", "cores then share their units or do not"),
    EnvironmentRule("cpu.clocks_mhz.*", "warn", TIMES, "CPU clock limit ({leaf})", "times follow the clock"),
    EnvironmentRule("cpu.virtual", "warn", TIMES, "virtual machine", "a host takes time from its guests"),
    EnvironmentRule("cpu.affinity", "warn", TIMES, "set of usable cores", "cores may share caches or not be alike"),
    EnvironmentRule("cpu.microcode", "warn", TIMES, "CPU microcode", "mitigations may differ"),
    EnvironmentRule(
        "mitigations.*", "warn", TIMES, "mitigation of {name}", "mitigations cost time", absent_is_none=True
    ),
    EnvironmentRule(
        "transparent_hugepages", "warn", MACHINE, "transparent huge pages", "memory and its access times may differ"
    ),
    EnvironmentRule(
        "thread_variables.*",
        "warn",
        TIMES,
        "variable {name}",
        "threads may be placed or wait in another way",
        absent_is_none=True,
    ),
    EnvironmentRule("threads.*", "warn", MACHINE, "number of threads of {name}", "other threads, other times"),
    EnvironmentRule("seeds.*", "warn", ("accuracy",), "seed ({name})", "training ends elsewhere with another seed"),
    EnvironmentRule("gpus.*.driver_version", "warn", MACHINE, "GPU driver", "kernels and clocks may differ"),
    EnvironmentRule("gpus.*", "warn", TIMES, "GPU setting {leaf}", "times follow clocks and limits"),
    # For the record.
    EnvironmentRule("*", "note", (), "{place}", "it is not known to change any figure"),
)


def rule_for(place: str) -> EnvironmentRule:
    """The first rule whose pattern fits; the last fits everything."""
    return next(rule for rule in RULES if fnmatchcase(place, rule.pattern))
