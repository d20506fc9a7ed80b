"""A server's processes: found by descent, paused and ended together."""

import subprocess
import sys

from bench import processes
from bench.processes import Process, descended, parse

# A parent that starts a child, says its id and waits.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_process_is_read_whatever_its_name_holds() -> None:
    fields = ["S", "7", *("0" for _ in range(17)), "4711", "0"]
    told = parse(f"12 (a ) S 3 (b)) {' '.join(fields)}")
    assert told == Process(pid=12, parent=7, state="S", started=4711)


def test_a_family_is_all_that_descend_parents_first() -> None:
    parents = {2: 1, 3: 2, 4: 2, 5: 4, 9: 1}
    everyone = [Process(pid, parent, "S", 0) for pid, parent in parents.items()]
    assert [p.pid for p in descended(everyone, 2)] == [2, 3, 4, 5]
    assert descended(everyone, 6) == []


def test_a_family_is_paused_resumed_and_ended_with_the_children_it_leaves() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        processes.pause(parent.pid)
        assert [(p.pid, p.state) for p in processes.family(parent.pid)] == [
            (parent.pid, "T"),
            (child, "T"),
        ]
        with processes.awake(parent.pid):
            assert "T" not in {p.state for p in processes.family(parent.pid)}
        processes.end(parent.pid)
        assert processes.family(parent.pid) == []
    assert processes.family(child) == []
