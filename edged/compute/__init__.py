"""The only home of torch: capture, program, interpreter, optimizer, state, profiler, the one compute thread."""
