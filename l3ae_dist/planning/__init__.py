"""Resources that a run will take, known before it starts: tile size, memory, storage, time."""
