"""Where a process's control groups are, as each kind of machine and container mounts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.runtime.cgroups import control_groups

V2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def machine(root: Path, groups: str, mounts: str, *folders: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(mounts)
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("groups", "mounts", "folder", "version", "levels"),
    [
        pytest.param(
            "0::/a.slice/b.scope\n", V2, "sys/fs/cgroup/a.slice/b.scope", 2,
            ["a.slice/b.scope", "a.slice", ""], id="version 2",
        ),
        pytest.param(
            "4:memory:/m\n3:cpu,cpuacct:/a\n0::/\n", V1, "sys/fs/cgroup/cpu,cpuacct/a", 1,
            ["cpu,cpuacct/a", "cpu,cpuacct"], id="version 1",
        ),
        pytest.param(
            "0::/\n", V2, "sys/fs/cgroup", 2, [""], id="a container with its own namespace",
        ),
        pytest.param(
            "3:cpu,cpuacct:/docker/1234\n", V1.replace(" / ", " /docker/1234 "),
            "sys/fs/cgroup/cpu,cpuacct", 1, ["cpu,cpuacct"], id="its own group is mounted",
        ),
        pytest.param(
            "3:cpu,cpuacct:/docker/1234\n", V1, "sys/fs/cgroup/cpu,cpuacct", 1, ["cpu,cpuacct"],
            id="named as seen from outside",
        ),
        pytest.param(
            "0::/../../elsewhere\n", V2, "sys/fs/cgroup", 2, [""], id="moved out of its namespace",
        ),
        pytest.param(
            "0::/a b\n", V2.replace("/sys/fs/cgroup", "/sys/fs/c\\040g"), "sys/fs/c g/a b", 2,
            None, id="a space in the name",
        ),
    ],
)  # fmt: skip
def test_the_folders_from_its_own_group_outwards(
    tmp_path: Path, groups: str, mounts: str, folder: str, version: int, levels: list[str] | None
) -> None:
    root = machine(tmp_path, groups, mounts, folder)
    [group] = control_groups("cpu", root)
    assert group.version == version
    assert group.folders[0] == root / folder
    if levels is not None:
        assert group.folders == tuple(root / "sys/fs/cgroup" / level for level in levels)


def test_what_a_machine_lacks_is_no_group(tmp_path: Path) -> None:
    assert control_groups("cpu", machine(tmp_path, "4:memory:/m\n", V1)) == []


def test_a_file_is_read_from_each_folder_that_has_it(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a/b\n", V2, "sys/fs/cgroup/a/b")
    (root / "sys/fs/cgroup/a/memory.max").write_text("max\n")
    (root / "sys/fs/cgroup/a/b/memory.max").write_text("1000\n")
    [group] = control_groups("memory", root)
    assert list(group.read("memory.max")) == ["1000", "max"]
    (root / "sys/fs/cgroup/a/b/cpu.max").mkdir()
    with pytest.raises(IsADirectoryError):
        list(group.read("cpu.max"))
