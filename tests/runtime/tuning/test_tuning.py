"""What costs speed is found on machines that have it, and on no other."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ingot.runtime.tuning import CHECKS, Finding, tune
from tests.runtime.tuning.machines import on_cpu, server, write

CPU = "sys/devices/system/cpu"
GROUP = "sys/fs/cgroup/pod"
GIB = 1 << 30


def costing(findings: list[Finding]) -> list[tuple[str, str | None]]:
    return [(finding.check, finding.cost) for finding in findings if finding.state == "costs"]


def test_a_machine_where_all_is_well(tmp_path: Path) -> None:
    findings = tune(server(tmp_path))
    assert [finding for finding in findings if finding.state != "good"] == []
    assert len(findings) == len(CHECKS) + 3  # the network's is one for each of four sizes


@pytest.mark.parametrize(
    ("files", "check", "cost", "found", "command"),
    [
        pytest.param(
            {f"{GROUP}/cpu.max": "150000 100000"},
            "CPU quota", "little", "1.5 CPUs of 4", "docker update --cpus", id="quota",
        ),
        pytest.param(
            {
                f"{GROUP}/cpu.max": "150000 100000",
                f"{GROUP}/cpu.stat": "nr_periods 90\nnr_throttled 5",
            },
            "CPU quota", "much", "stopped until its end, in 5 of 90 periods", "docker",
            id="throttled",
        ),
        pytest.param(
            {f"{GROUP}/memory.max": str(GIB), f"{GROUP}/memory.events": "low 0\nmax 7\noom 0"},
            "memory limit", "much", "1.00 GiB of 1.00 GiB used; met 7 times", "docker update",
            id="memory",
        ),
        pytest.param(
            {"proc/meminfo": "SwapTotal: 8388608 kB\nSwapFree: 7340032 kB"},
            "swap", "much", "1.00 GiB of 8.00 GiB used, vm.swappiness=60", "sudo sysctl vm.swap",
            id="swap",
        ),
        pytest.param(
            {"proc/sys/vm/overcommit_memory": "2"},
            "overcommit", "little", "9.54 GiB of 19.07 GiB are promised", "overcommit_memory=0",
            id="overcommit",
        ),
        pytest.param(
            {
                "proc/sys/vm/overcommit_memory": "2",
                "proc/meminfo": "SwapTotal: 0 kB\nCommitLimit: 100 kB\nCommitted_AS: 95 kB",
            },
            "overcommit", "much", "loading may fail", "overcommit_memory=0", id="overcommit full",
        ),
        pytest.param(
            {"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]"},
            "transparent huge pages", "little", "never", "echo madvise | sudo tee", id="huge pages",
        ),
        pytest.param(
            {f"{CPU}/intel_pstate/no_turbo": "1"},
            "turbo", "much", "switched off", f"echo 0 | sudo tee /{CPU}/intel_pstate/no_turbo",
            id="turbo of Intel",
        ),
        pytest.param(
            {f"{CPU}/cpu2/cpufreq/scaling_governor": "powersave"},
            "frequency governor", "much", "performance, powersave; it holds 1 of 4 CPUs down",
            "echo performance | sudo tee", id="powersave",
        ),
        pytest.param(
            {f"{CPU}/cpu{cpu}/cpufreq/scaling_governor": "schedutil" for cpu in range(4)},
            "frequency governor", "little", "schedutil", "echo performance", id="schedutil",
        ),
        pytest.param(
            {
                f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
                f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate",
                f"{CPU}/cpu0/cpufreq/energy_performance_preference": "balance_power",
            },
            "frequency governor", "much", "1 of 4 CPUs", "performance", id="saving preference",
        ),
        pytest.param(
            {
                f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
                f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate",
                f"{CPU}/cpu0/cpufreq/energy_performance_preference": "performance",
            },
            "frequency governor", "little", "powersave", "performance", id="follows the load",
        ),
        pytest.param(
            {f"{CPU}/cpu1/cpufreq/scaling_max_freq": "2000000"},
            "clock limit", "much", "2000 MHz, and CPU 1 can 3500", "scaling_max_freq", id="limit",
        ),
        pytest.param(
            {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
            "clock source", "little", "hpet", "echo tsc", id="clock source",
        ),
        pytest.param(
            {"proc/loadavg": "3.0 1 1 1/1 1"},
            "busy machine", "some", "load average 3 on 4 CPUs", "ps -eo", id="busy",
        ),
        pytest.param(
            {"proc/loadavg": "9.0 1 1 1/1 1"},
            "busy machine", "much", "load average 9 on 4 CPUs", "ps -eo", id="overloaded",
        ),
        pytest.param(
            {"proc/pressure/cpu": "some avg10=12.5 avg60=0 avg300=0 total=0"},
            "busy machine", "some", "waited for a CPU 12.5 % of the last 10 s", "ps", id="pressure",
        ),
        pytest.param(
            {"proc/stat": "cpu  100 0 100 700 0 0 0 100 0 0"},
            "steal time", "much", "10.0 % since the machine started", "", id="steal",
        ),
        pytest.param(
            {
                "sys/devices/system/node/online": "0-1",
                "sys/devices/system/node/node0/cpulist": "0-1",
                "sys/devices/system/node/node1/cpulist": "2-3",
            },
            "NUMA", "some", "on 2 nodes", "numactl --cpunodebind=0 --membind=0", id="NUMA",
        ),
        pytest.param(
            {"proc/sys/net/core/somaxconn": "128"},
            "net.core.somaxconn", "little", "128 connections", "sysctl net.core.somaxconn=1024",
            id="connections",
        ),
        pytest.param(
            {"proc/sys/net/core/rmem_max": "212992"},
            "net.core.rmem_max", "little", "212992 bytes", "net.core.rmem_max=4194304",
            id="buffers",
        ),
        pytest.param(
            {"proc/self/limits": "Max open files            1024      4096      files"},
            "open files", "little", "1024 at most", "ulimit -n 4096", id="files",
        ),
    ],
)  # fmt: skip
def test_what_costs(
    tmp_path: Path, files: dict[str, str], check: str, cost: str, found: str, command: str
) -> None:
    machine = server(tmp_path)
    write(tmp_path, files)
    findings = tune(machine)
    assert costing(findings) == [(check, cost)]
    assert found in findings[0].found
    assert findings[0].advice
    assert command in findings[0].command


def test_cores_that_threads_share(tmp_path: Path) -> None:
    machine = server(tmp_path)
    for cpu in range(4):
        on_cpu(tmp_path, cpu, {"topology/thread_siblings_list": f"{cpu % 2},{cpu % 2 + 2}"})
    [finding] = [finding for finding in tune(machine) if finding.state == "costs"]
    assert (finding.check, finding.found) == ("SMT", "4 CPUs are 2 cores")
    assert "threads=2" in finding.advice
    assert finding.command == "taskset -c 0,1 COMMAND"
    # One of each pair is all that the process may use.
    assert costing(tune(dataclasses.replace(machine, affinity=frozenset({1, 2})))) == []


@pytest.mark.parametrize(
    ("variables", "found", "command"),
    [
        ({"OMP_NUM_THREADS": "16"}, "OMP_NUM_THREADS=16, and 4 CPUs", "export OMP_NUM_THREADS=4"),
        ({"MKL_NUM_THREADS": "8,2"}, "MKL_NUM_THREADS=8,2", "export MKL_NUM_THREADS=4"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "OMP_WAIT_POLICY=ACTIVE", "export OMP_WAIT_POLICY=passive"),
        ({"GOMP_CPU_AFFINITY": "0-3"}, "GOMP_CPU_AFFINITY=0-3", "unset GOMP_CPU_AFFINITY"),
        ({"OMP_PROC_BIND": "close"}, "OMP_PROC_BIND=close", "unset OMP_PROC_BIND"),
        ({"OMP_NUM_THREADS": "4", "OMP_PROC_BIND": "false", "TVM_BIND_THREADS": "0"}, "", ""),
    ],
)
def test_threads_in_the_environment(
    tmp_path: Path, variables: dict[str, str], found: str, command: str
) -> None:
    findings = tune(server(tmp_path, environment=variables))
    wanted = [("threads in the environment", "some")] if command else []
    assert costing(findings) == wanted
    if command:
        assert found in findings[0].found
        assert findings[0].command == command
    else:
        [fine] = [f for f in findings if f.check == "threads in the environment"]
        assert (fine.state, fine.found) == ("good", "OMP_NUM_THREADS=4")


def test_a_quota_counts_for_threads_in_the_environment(tmp_path: Path) -> None:
    machine = server(tmp_path, environment={"OPENBLAS_NUM_THREADS": "4"})
    write(tmp_path, {f"{GROUP}/cpu.max": "200000 100000"})
    assert costing(tune(machine)) == [
        ("threads in the environment", "some"),
        ("CPU quota", "little"),
    ]


def test_steal_is_that_of_this_moment(tmp_path: Path) -> None:
    def others_run() -> None:
        write(tmp_path, {"proc/stat": "cpu  150 0 100 9000 0 0 0 50 0 0"})

    findings = tune(server(tmp_path, pause=others_run))
    assert costing(findings) == [("steal time", "much")]
    assert findings[0].found.startswith("50.0 % now")


def test_turbo_as_other_drivers_tell_it(tmp_path: Path) -> None:
    machine = server(tmp_path)
    (tmp_path / CPU / "intel_pstate/no_turbo").unlink()
    write(tmp_path, {f"{CPU}/cpufreq/boost": "0"})
    findings = tune(machine)
    assert costing(findings) == [("turbo", "much")]
    assert findings[0].command == f"echo 1 | sudo tee /{CPU}/cpufreq/boost"


def test_version_1_of_control_groups(tmp_path: Path) -> None:
    machine = server(tmp_path)
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n",
            "proc/self/mountinfo": (
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
            ),
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/box/cpu.stat": "nr_periods 8\nnr_throttled 4\nthrottled_time 15000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{2 * GIB}",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{2 * GIB - 1}",
            "sys/fs/cgroup/memory/box/memory.failcnt": "3",
            "sys/fs/cgroup/memory/box/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 16}",
        },
    )
    findings = tune(machine)
    assert costing(findings) == [("CPU quota", "much"), ("memory limit", "much")]
    assert findings[0].found == (
        "3 CPUs of 4; used up, and stopped until its end, in 4 of 8 periods"
    )
    assert findings[1].found.startswith("1.94 GiB of 2.00 GiB used; met 3 times")
    # What was read from files and is not in use is given up before anything waits.
    stat = "sys/fs/cgroup/memory/box/memory.stat"
    write(tmp_path, {stat: f"total_inactive_file {GIB}"})
    assert ("memory limit", "much") not in costing(tune(machine))


def test_a_virtual_machine_says_what_it_cannot_tell(tmp_path: Path) -> None:
    machine = server(tmp_path)
    for cpu in range(4):
        for file in (tmp_path / CPU / f"cpu{cpu}/cpufreq").iterdir():
            file.unlink()
    (tmp_path / CPU / "intel_pstate/no_turbo").unlink()
    (tmp_path / "sys/kernel/mm/transparent_hugepage/enabled").unlink()
    (tmp_path / "proc/sys/vm/overcommit_memory").write_text("?")
    findings = tune(machine)
    told = {finding.check: finding.found for finding in findings if finding.state == "unknown"}
    assert told.keys() == {
        "frequency governor", "clock limit", "turbo", "transparent huge pages", "overcommit",
    }  # fmt: skip
    assert "the host decides" in told["frequency governor"]
    assert told["transparent huge pages"].endswith("enabled: No such file or directory")
    assert "is not understood" in told["overcommit"]


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = server(tmp_path)
    read = Path.read_text

    def guarded(path: Path, *arguments: object, **named: object) -> str:
        if path.name == "no_turbo":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", guarded)
    [finding] = [finding for finding in tune(machine) if finding.state != "good"]
    assert (finding.check, finding.state) == ("turbo", "unknown")
    assert finding.found.endswith("no_turbo: Permission denied")


def test_a_machine_without_any_file_is_unknown_throughout(tmp_path: Path) -> None:
    findings = tune(server(tmp_path / "a"))
    nothing = tune(dataclasses.replace(server(tmp_path / "b"), root=tmp_path / "none"))
    assert {finding.state for finding in nothing} == {"unknown"}
    assert {finding.check for finding in nothing} == {finding.check for finding in findings}


def test_what_costs_most_comes_first(tmp_path: Path) -> None:
    machine = server(tmp_path, environment={"OMP_NUM_THREADS": "9"})
    write(tmp_path, {"proc/sys/net/core/somaxconn": "1", "proc/loadavg": "9 9 9 1/1 1"})
    (tmp_path / CPU / "intel_pstate/no_turbo").unlink()
    order = [finding.cost or finding.state for finding in tune(machine)]
    assert order[:4] == ["much", "some", "little", "unknown"]
    assert set(order[4:]) == {"good"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_it_runs_from_the_base_install(options: list[str]) -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(('tvm', 'rich', 'typer', 'psutil')))"
    run = "import runpy; runpy.run_module('ingot.runtime.tuning', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"{block}; sys.argv = ['x', *sys.argv[1:]]; {run}", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if options:
        assert {"CPU quota", "swap"} <= {finding["check"] for finding in json.loads(done.stdout)}
    else:
        assert "CPU quota: " in done.stdout
