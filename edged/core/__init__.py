"""The pure core: facts and the time go in, decisions come out. No input, no output, no clock, no chance."""
