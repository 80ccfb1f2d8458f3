"""What the kernel's files say of the container's memory, in folders of the test's own."""

from __future__ import annotations

from pathlib import Path

from paddock_runtime.system.container import ContainerMemory, container_memory

GIB = 1 << 30


def place(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def look(root: Path) -> ContainerMemory:
    return container_memory(proc=root / "proc", cgroup=root / "cgroup")


def test_v2(tmp_path: Path) -> None:
    place(tmp_path, {
        "proc/self/cgroup": "0::/\n", "cgroup/memory.max": f"{4 * GIB}\n", "cgroup/memory.current": f"{3 * GIB}\n",
        "cgroup/memory.stat": f"anon 1\nfile {2 * GIB}\nfile_mapped {GIB // 2}\ninactive_file {GIB}\n"
                              f"active_file {GIB // 2}\n",
        "cgroup/memory.pressure": "some avg10=5.00 avg60=0.00 avg300=0.00 total=1\n"
                                  "full avg10=2.50 avg60=0.00 avg300=0.00 total=1\n"})
    assert look(tmp_path) == ContainerMemory(used_bytes=2 * GIB, limit_bytes=4 * GIB, stalled=2.5)


def test_v1(tmp_path: Path) -> None:
    place(tmp_path, {
        "proc/self/cgroup": "4:memory:/pods/one\n0::/\n",
        "cgroup/memory/pods/one/memory.limit_in_bytes": f"{2 * GIB}\n",
        "cgroup/memory/pods/one/memory.usage_in_bytes": f"{GIB}\n",
        "cgroup/memory/pods/one/memory.stat": f"total_inactive_file {GIB // 4}\ntotal_active_file {GIB // 4}\n"
                                              f"total_mapped_file {GIB // 8}\nmapped_file 1\n",
        "cgroup/memory/pods/memory.limit_in_bytes": "9223372036854771712\n",
        "cgroup/memory/pods/memory.usage_in_bytes": f"{9 * GIB}\n",
        "proc/pressure/memory": "some avg10=0.00\nfull avg10=1.00 avg60=0\n"})
    assert look(tmp_path) == ContainerMemory(used_bytes=GIB - 3 * GIB // 8, limit_bytes=2 * GIB, stalled=1.0)


def test_the_parent_that_is_nearer_to_its_limit_counts(tmp_path: Path) -> None:
    place(tmp_path, {
        "proc/self/cgroup": "0::/pod/container\n",
        "cgroup/pod/container/memory.max": "max\n", "cgroup/pod/container/memory.current": f"{GIB}\n",
        "cgroup/pod/memory.max": f"{2 * GIB}\n", "cgroup/pod/memory.current": f"{GIB}\n",
        "cgroup/memory.max": f"{8 * GIB}\n", "cgroup/memory.current": f"{2 * GIB}\n"})
    assert look(tmp_path) == ContainerMemory(used_bytes=GIB, limit_bytes=2 * GIB)


def test_no_limit_and_no_files(tmp_path: Path) -> None:
    assert look(tmp_path) == ContainerMemory()
    place(tmp_path, {"proc/self/cgroup": "garbage\n0::/\n", "cgroup/memory.max": "max\n",
                     "cgroup/memory.current": "12\n", "cgroup/memory.pressure": "full avg10=lots\n"})
    assert look(tmp_path) == ContainerMemory()
