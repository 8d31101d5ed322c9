#!/usr/bin/env python3
"""Runs the cases of a test program under compute-sanitizer, one process a case, several at a time on each GPU, and prints what it
found: errors in kernels of ours, errors in kernels of NVIDIA's libraries alone, cases that failed or were not reached.

    python3 tools/sanitize_gpu.py build/cuda/tests/test_cuda --tool memcheck
    python3 tools/sanitize_gpu.py build/cuda/tests/test_cuda --tool racecheck --gpus 4 --processes 3 --seconds 900

Exits with 0 when every case passed or skipped itself and none has an error in a kernel of ours. Cases of performance and of
tensors with 2^31 elements are left out unless --filter names them. Runs of many like steps stop after the first ones
(tests/cuda/short_runs.h).
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import time

LEFT_OUT = "*Speed*:*Performance*:CudaLarge.*"
# A report begins with "========= Text" and goes on in lines that are indented behind the mark.
REPORT = re.compile(r"^========= (?:Error|Warning|Invalid|Race|Program hit|Address|Uninitialized|Barrier|Leaked|Internal)", re.M)
# What the sanitizer says of a case that calls nothing of CUDA.
NO_KERNEL = "Target application terminated before first instrumented API call"
SUMMARY = re.compile(r"^========= (?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) errors?, (\d+) warning)", re.M)


@dataclasses.dataclass
class Outcome:
    case: str
    seconds: float
    kind: str  # clean, library, error, failed, skipped, late
    log: str


def cases_of(program: str, chosen: str) -> list[str]:
    listing = subprocess.run([program, "--gtest_list_tests", f"--gtest_filter={chosen}"], capture_output=True, text=True, check=True)
    cases, suite = [], ""
    for line in listing.stdout.splitlines():
        name = line.split("#")[0].rstrip()
        if name.endswith(".") and not name.startswith(" "):
            suite = name
        elif name.startswith("  ") and suite:
            cases.append(suite + name.strip())
    return cases


def reports_of(log: str) -> list[str]:
    """Each report with the lines that belong to it."""
    starts = [found.start() for found in REPORT.finditer(log)]
    reports = []
    for begin, end in zip(starts, starts[1:] + [len(log)]):
        lines = log[begin:end].splitlines()
        body = [lines[0]]
        for line in lines[1:]:
            if not line.startswith("=========     "):
                break
            body.append(line)
        reports.append("\n".join(body))
    return reports


def kind_of(log: str) -> str:
    if "[  SKIPPED ] 1 test" in log:
        return "skipped"
    if "[  PASSED  ] 1 test" not in log:
        return "failed"
    if NO_KERNEL in log:
        return "clean"
    if not SUMMARY.search(log):
        return "failed"
    reports = reports_of(log)
    if any("megalith" in report for report in reports):
        return "error"
    counted = sum(int(number or 0) for number in SUMMARY.findall(log)[-1])
    if counted > len(reports):
        return "error"  # in words that this script does not know
    return "library" if counted else "clean"


def run_case(case: str, options: argparse.Namespace, gpus: "queue.Queue[int]", end: float) -> Outcome:
    gpu = gpus.get()
    begin = time.monotonic()
    try:
        if end - begin < 1:
            return Outcome(case, 0, "late", "")
        command = [options.sanitizer, "--tool", options.tool, "--print-limit", "1000000"]  # ours may come late
        if options.tool == "memcheck":
            command += ["--report-api-errors", "no"]  # of cases that run out of memory on purpose
        # What is mapped page by page is unknown to memcheck.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": str(gpu), "MEGALITH_EXPANDABLE_SEGMENTS": "0",
                                    "MG_SHORT_RUNS": "1"}
        process = subprocess.Popen(command + [options.program, f"--gtest_filter={case}"], env=environment, text=True, errors="replace",
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            log, _ = process.communicate(timeout=end - begin)
            return Outcome(case, time.monotonic() - begin, kind_of(log), log)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the program that the sanitizer runs
            log, _ = process.communicate()
            return Outcome(case, time.monotonic() - begin, "late", log)
    finally:
        gpus.put(gpu)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="a test program, as build/cuda/tests/test_cuda")
    parser.add_argument("--tool", default="memcheck", choices=["memcheck", "racecheck", "initcheck", "synccheck"])
    parser.add_argument("--filter", default=f"*-{LEFT_OUT}", help="cases, as --gtest_filter has them (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to use, from the first one (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=3, help="cases at a time on a GPU (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3600, help="time for all of it (default: %(default)s)")
    parser.add_argument("--logs", type=pathlib.Path, default=pathlib.Path("build/sanitize"), help="folder (default: %(default)s)")
    parser.add_argument("--sanitizer", default="compute-sanitizer", help="its program (default: %(default)s)")
    options = parser.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())

    cases = cases_of(options.program, options.filter)
    if not cases:
        print(f"{options.program}: no case matches {options.filter}", file=sys.stderr)
        return 2
    options.logs.mkdir(parents=True, exist_ok=True)
    gpus: "queue.Queue[int]" = queue.Queue()
    for gpu in list(range(options.gpus)) * options.processes:
        gpus.put(gpu)
    end = time.monotonic() + options.seconds
    counts: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(max_workers=gpus.qsize()) as pool:
        runs = [pool.submit(run_case, case, options, gpus, end) for case in cases]
        for done in concurrent.futures.as_completed(runs):
            outcome = done.result()
            counts[outcome.kind] += 1
            (options.logs / (re.sub(r"[^\w.]", "_", outcome.case) + f".{options.tool}.log")).write_text(outcome.log, encoding="utf-8")
            print(f"{sum(counts.values()):4}/{len(cases)} {outcome.kind:8}{outcome.seconds:7.1f} s  {outcome.case}", flush=True)
    print(f"{options.tool}: {len(cases)} cases: {counts['clean']} clean, {counts['library']} with errors in libraries' kernels alone, "
          f"{counts['error']} with errors in ours, {counts['failed']} failed, {counts['skipped']} skipped, {counts['late']} not ended; logs in {options.logs}")
    return 0 if counts["clean"] + counts["library"] + counts["skipped"] == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
