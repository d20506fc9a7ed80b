"""Files of cases, read and decoded one by one: here, or by Ray Data on whatever node has room.

A file is a block. Blocks come in the order in which the files were named, however many are read at
once and whichever was done first, so both ways give the same cases. What a block is made into is
small arrays and texts; only those are brought together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer.errors import InputError, TrainError

# Reads one file into an Arrow table; raises InputError.
Read = Callable[[Path], Any]
# Reads several files, in their order.
Blocks = Callable[[Sequence[Path], Read], Iterator[Any]]
# So many blocks are fetched before they are asked for.
AHEAD = 2


def one_by_one(paths: Sequence[Path], read: Read) -> Iterator[Any]:
    """Read files here. Raises InputError."""
    return map(read, paths)


def by_ray_data(paths: Sequence[Path], read: Read) -> Iterator[Any]:
    """Read files by Ray Data; Ray runs already. A single file is read here.

    A file that the node which was to read it does not see is read here, too.

    Args:
        paths: of the files.
        read: can be pickled.

    Yields:
        Arrow tables, one a file, in the files' order.

    Raises:
        InputError: what `read` raised of the first file that it refused.
        TrainError: Ray lost a block, more often than is tried again.
    """
    if len(paths) < 2:
        yield from one_by_one(paths, read)
        return
    import ray.data  # noqa: PLC0415
    from pyarrow import ipc  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    try:
        named = [{"place": i, "path": str(path.resolve())} for i, path in enumerate(paths)]
        blocks = ray.data.from_items(named, override_num_blocks=len(named)).map_batches(
            partial(_block, read=read), batch_size=1, batch_format="pyarrow"
        )
        at = 0
        for batch in blocks.iter_batches(
            batch_size=1, batch_format="pyarrow", prefetch_batches=AHEAD
        ):
            place, seen, error, data = (batch.column(i)[0] for i in range(4))
            if place.as_py() != at:
                raise TrainError(f"Ray Data gave block {place.as_py()} in the place of {at}.")
            if error.as_py():
                raise InputError(error.as_py())
            if seen.as_py():
                # A copy: what is in Ray's store would stay there, and it is small.
                yield ipc.open_stream(data.as_py()).read_all()
            else:
                yield read(paths[at])
            at += 1
        if at != len(paths):
            raise TrainError(f"Ray Data gave {at} of {len(paths)} blocks.")
    except ray.exceptions.RayError as error:
        raise TrainError(f"Ray lost a block: {error}") from error
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before


def _block(batch: Any, read: Read) -> Any:
    """One file, as one row: whether this node sees it, what is wrong with it, its table."""
    import pyarrow as pa  # noqa: PLC0415

    (place,), (name,) = (batch.column(c).to_pylist() for c in ("place", "path"))
    path, error, out = Path(name), "", pa.BufferOutputStream()
    seen = path.exists()
    if seen:
        try:
            table = read(path)
            with pa.ipc.new_stream(out, table.schema) as stream:
                stream.write_table(table)
        except InputError as refused:
            # As a value: an exception would come back wrapped in Ray's own.
            error = str(refused)
    return pa.table(
        {
            "place": pa.array([place], pa.int64()),
            "seen": pa.array([seen], pa.bool_()),
            "error": pa.array([error], pa.string()),
            "data": pa.array([out.getvalue().to_pybytes()], pa.large_binary()),
        }
    )
